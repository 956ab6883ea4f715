package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var (
	nameServers primitive.NamesrvAddr
	instances   int
)

// instance names must differ: clients of the same name share one connection and one fate.
func instance() string {
	instances++
	return fmt.Sprintf("suite-%d", instances)
}

func newProducer(options ...producer.Option) rocketmq.Producer {
	options = append(options, producer.WithNameServer(nameServers),
		producer.WithInstanceName(instance()), producer.WithGroupName("OfficialGoProducer"))
	made, problem := rocketmq.NewProducer(options...)
	succeeded(problem)
	succeeded(made.Start())
	return made
}

func message(topic, tag string, number int) *primitive.Message {
	made := primitive.NewMessage(topic, []byte(fmt.Sprintf("%s body %d", tag, number)))
	made.WithTag(tag)
	made.WithKeys([]string{fmt.Sprintf("key%d", number)})
	made.WithProperty("number", fmt.Sprint(number))
	return made
}

// received is what consumers of a topic got: every delivery of a body.
type received struct {
	sync.Mutex
	byBody map[string][]*primitive.MessageExt
}

func newReceived() *received {
	return &received{byBody: map[string][]*primitive.MessageExt{}}
}

func (r *received) add(messages ...*primitive.MessageExt) {
	r.Lock()
	defer r.Unlock()
	for _, one := range messages {
		r.byBody[string(one.Body)] = append(r.byBody[string(one.Body)], one)
	}
}

func (r *received) count() int {
	r.Lock()
	defer r.Unlock()
	return len(r.byBody)
}

func (r *received) of(body string) []*primitive.MessageExt {
	r.Lock()
	defer r.Unlock()
	return r.byBody[body]
}

func (r *received) missing(bodies []string) int {
	r.Lock()
	defer r.Unlock()
	missing := 0
	for _, body := range bodies {
		if len(r.byBody[body]) == 0 {
			missing++
		}
	}
	return missing
}

type listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// tryConsumer starts a push consumer from the beginning of each queue. This client refuses to start
// on a topic that has no route yet.
func tryConsumer(group, topic, tags string, listen listener, options ...consumer.Option) (
	rocketmq.PushConsumer, error) {
	options = append(options, consumer.WithNameServer(nameServers), consumer.WithGroupName(group),
		consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	made, problem := rocketmq.NewPushConsumer(options...)
	succeeded(problem)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: tags}
	succeeded(made.Subscribe(topic, selector, listen))
	return made, made.Start()
}

func startConsumer(group, topic, tags string, listen listener,
	options ...consumer.Option) rocketmq.PushConsumer {
	made, problem := tryConsumer(group, topic, tags, listen, options...)
	succeeded(problem)
	return made
}

// keep is a listener that only takes.
func (r *received) keep(_ context.Context, messages ...*primitive.MessageExt) (
	consumer.ConsumeResult, error) {
	r.add(messages...)
	return consumer.ConsumeSuccess, nil
}
