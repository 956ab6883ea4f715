package main

import (
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// In each group.
const queuesEach = 2

type messaging struct {
	topic string
	admin admin.Admin
	sends rocketmq.Producer
	// Bodies of all that was acknowledged, and of one-way sends.
	sent []string
}

// createTopic asks the leader of each group: this client's API wants a broker's address.
func (m *messaging) createTopic(topic string) {
	leaders := strings.Fields(ask("LEADERS"))
	for _, leader := range leaders {
		succeeded(m.admin.CreateTopic(context.Background(), admin.WithTopicCreate(topic),
			admin.WithBrokerAddrCreate(leader), admin.WithReadQueueNums(queuesEach),
			admin.WithWriteQueueNums(queuesEach)))
	}
	await(120*time.Second, "the topic is routed", func() bool {
		return len(m.queues(topic)) == len(leaders)*queuesEach
	})
	list, problem := m.admin.FetchAllTopicList(context.Background())
	succeeded(problem)
	check(strings.Contains(fmt.Sprint(list.TopicList), topic), "the topic is listed")
}

func (m *messaging) queues(topic string) []*primitive.MessageQueue {
	queues, problem := m.admin.FetchPublishMessageQueues(context.Background(), topic)
	if problem != nil {
		return nil
	}
	return queues
}

func (m *messaging) run() {
	runCase("create-topic", func() { m.createTopic(m.topic) })
	runCase("send-sync", m.sendSync)
	runCase("send-async", m.sendAsync)
	runCase("send-oneway", m.sendOneway)
	runCase("send-batch", m.sendBatch)
	runCase("send-to-selected-queue", m.sendSelected)
	runCase("send-compressed", m.sendCompressed)
	runCase("send-over-limit-is-refused", m.sendOverLimit)
	runCase("push-consume-all", m.consumeAll)
	runCase("push-consume-by-tag", m.consumeByTag)
	runCase("consumer-resumes-at-its-offset", m.consumerResumes)
}

func (m *messaging) acknowledged(made *primitive.Message, result *primitive.SendResult, problem error) {
	succeeded(problem)
	check(result.Status == primitive.SendOK, "status %d", result.Status)
	check(result.QueueOffset >= 0, "queue offset %d", result.QueueOffset)
	m.sent = append(m.sent, string(made.Body))
}

func (m *messaging) sendSync() {
	for number := 0; number < 40; number++ {
		tag := "TagA"
		if number%2 == 1 {
			tag = "TagB"
		}
		made := message(m.topic, tag, number)
		result, problem := m.sends.SendSync(context.Background(), made)
		m.acknowledged(made, result, problem)
		check(result.MsgID != "" && result.OffsetMsgID != "", "ids: %s", result)
	}
}

func (m *messaging) sendAsync() {
	var answered sync.WaitGroup
	results := make(chan func(), 100)
	for number := 0; number < 100; number++ {
		made := message(m.topic, "TagC", number)
		answered.Add(1)
		succeeded(m.sends.SendAsync(context.Background(),
			func(_ context.Context, result *primitive.SendResult, problem error) {
				results <- func() { m.acknowledged(made, result, problem) }
				answered.Done()
			}, made))
	}
	answered.Wait()
	close(results)
	for result := range results {
		result()
	}
}

func (m *messaging) sendOneway() {
	for number := 0; number < 50; number++ {
		made := message(m.topic, "TagD", number)
		succeeded(m.sends.SendOneWay(context.Background(), made))
		m.sent = append(m.sent, string(made.Body))
	}
}

func (m *messaging) sendBatch() {
	var batch []*primitive.Message
	for number := 0; number < 32; number++ {
		batch = append(batch, message(m.topic, "TagE", number))
	}
	result, problem := m.sends.SendSync(context.Background(), batch...)
	for _, made := range batch {
		m.acknowledged(made, result, problem)
	}
	check(len(strings.Split(result.OffsetMsgID, ",")) == 32, "offset ids: %s", result.OffsetMsgID)
}

func (m *messaging) sendSelected() {
	selecting := newProducer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	defer selecting.Shutdown()
	queue := m.queues(m.topic)[3]
	previous := int64(-1)
	for number := 0; number < 20; number++ {
		made := message(m.topic, "TagF", number)
		made.Queue = queue
		result, problem := selecting.SendSync(context.Background(), made)
		m.acknowledged(made, result, problem)
		check(result.QueueOffset > previous, "offsets of one queue grow")
		previous = result.QueueOffset
		chosen := *result.MessageQueue
		check(chosen == *queue, "queue %v, not %v", chosen, *queue)
	}
}

// Bodies of 4 KiB and more leave this client compressed.
func (m *messaging) sendCompressed() {
	made := message(m.topic, "TagG", 0)
	made.Body = []byte(strings.Repeat("raft ", 20_000))
	result, problem := m.sends.SendSync(context.Background(), made)
	m.acknowledged(made, result, problem)
}

func (m *messaging) sendOverLimit() {
	made := message(m.topic, "TagH", 0)
	made.Body = make([]byte, 5<<20)
	rand.New(rand.NewSource(1)).Read(made.Body)
	_, problem := m.sends.SendSync(context.Background(), made)
	check(problem != nil && strings.Contains(problem.Error(), "CODE: 13"), "refused: %v", problem)
}

func (m *messaging) consumeAll() {
	got := newReceived()
	all := startConsumer("OfficialGoAll", m.topic, "*", got.keep)
	defer all.Shutdown()
	await(120*time.Second, "all consumed", func() bool { return got.missing(m.sent) == 0 })
	check(got.count() == len(m.sent), "%d messages, not %d", got.count(), len(m.sent))
	for body, deliveries := range got.byBody {
		one := deliveries[0]
		check(one.GetKeys() == "key"+one.GetProperty("number"), "keys of %s", one)
		expected := one.GetTags() + " body " + one.GetProperty("number")
		check(body == expected || one.GetTags() == "TagG", "body %s", body)
	}
}

func (m *messaging) consumeByTag() {
	got := newReceived()
	tagged := startConsumer("OfficialGoTags", m.topic, "TagA || TagF", got.keep)
	defer tagged.Shutdown()
	await(120*time.Second, "20 of TagA and 20 of TagF", func() bool { return got.count() >= 40 })
	// What is sent now is delivered after everything before it in its queue.
	marker := message(m.topic, "TagA", 100)
	result, problem := m.sends.SendSync(context.Background(), marker)
	m.acknowledged(marker, result, problem)
	await(120*time.Second, "the marker", func() bool { return got.of(string(marker.Body)) != nil })
	check(got.count() == 41, "%d messages", got.count())
}

func (m *messaging) consumerResumes() {
	got := newReceived()
	all := startConsumer("OfficialGoAll", m.topic, "*", got.keep)
	defer all.Shutdown()
	made := message(m.topic, "TagI", 0)
	result, problem := m.sends.SendSync(context.Background(), made)
	m.acknowledged(made, result, problem)
	await(120*time.Second, "what is new", func() bool {
		return got.missing([]string{"TagA body 100", "TagI body 0"}) == 0
	})
	check(got.count() == 2, "%d messages, of which 2 are new", got.count())
}
