package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// kinds has the consumers beside the concurrent one: in order, broadcast, pull.
type kinds struct {
	messaging *messaging
	topic     string
	sent      []string
}

func (k *kinds) run() {
	k.messaging.createTopic(k.topic)
	for number := 0; number < 200; number++ {
		made := message(k.topic, "T", number)
		_, problem := k.messaging.sends.SendSync(context.Background(), made)
		succeeded(problem)
		k.sent = append(k.sent, string(made.Body))
	}
	runCase("orderly-consumer-keeps-order", k.inOrder)
	runCase("broadcast-reaches-every-consumer", k.broadcast)
	runCase("pull-consumer-reads-all", k.pull)
}

func (k *kinds) inOrder() {
	got := newReceived()
	var lock sync.Mutex
	next := map[string]int64{}
	var mistakes []string
	refuse := 3
	listen := func(_ context.Context, messages ...*primitive.MessageExt) (
		consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		if refuse > 0 {
			refuse--
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		for _, one := range messages {
			// The broker's address is part of which queue it is.
			queue := fmt.Sprintf("%s/%d", one.StoreHost, one.Queue.QueueId)
			if one.QueueOffset != next[queue] {
				mistakes = append(mistakes, fmt.Sprintf("%s: %d, not %d", queue,
					one.QueueOffset, next[queue]))
			}
			next[queue] = one.QueueOffset + 1
		}
		got.add(messages...)
		return consumer.ConsumeSuccess, nil
	}
	ordered := startConsumer("OfficialGoOrdered", k.topic, "*", listen,
		consumer.WithConsumerOrder(true))
	defer ordered.Shutdown()
	await(120*time.Second, "all consumed", func() bool { return got.missing(k.sent) == 0 })
	lock.Lock()
	defer lock.Unlock()
	check(len(mistakes) == 0, "mistakes: %v", mistakes)
	check(refuse == 0, "%d were not refused", refuse)
}

func (k *kinds) broadcast() {
	var all []*received
	var consumers []rocketmq.PushConsumer
	for n := 0; n < 2; n++ {
		got := newReceived()
		all = append(all, got)
		consumers = append(consumers, startConsumer("OfficialGoBroadcast", k.topic, "*", got.keep,
			consumer.WithConsumerModel(consumer.BroadCasting)))
	}
	for _, got := range all {
		await(120*time.Second, "all reached", func() bool { return got.missing(k.sent) == 0 })
	}
	for _, one := range consumers {
		one.Shutdown()
	}
}

func (k *kinds) pull() {
	puller, problem := rocketmq.NewPullConsumer(consumer.WithNameServer(nameServers),
		consumer.WithGroupName("OfficialGoPull"), consumer.WithInstance(instance()))
	succeeded(problem)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	succeeded(puller.Subscribe(k.topic, selector))
	succeeded(puller.Start())
	defer puller.Shutdown()
	got := newReceived()
	for _, queue := range k.messaging.queues(k.topic) {
		offset := int64(0)
		for {
			result, problem := puller.PullFrom(context.Background(), queue, offset, 16)
			succeeded(problem)
			got.add(result.GetMessageExts()...)
			offset = result.NextBeginOffset
			if offset >= result.MaxOffset {
				break
			}
			check(result.Status == primitive.PullFound, "status %d", result.Status)
		}
	}
	check(got.missing(k.sent) == 0 && got.count() == len(k.sent), "%d messages", got.count())
}
