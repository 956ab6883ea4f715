package main

import (
	"context"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	// The cluster's levels are `1s 3s 1s 1s 1s`.
	delayLevel = 2
	delay      = 3 * time.Second
	retryGroup = "OfficialGoRetry"
	// This client asks for the route of a new retry topic every 30 s and rebalances every 20 s.
	retryLimit = 120 * time.Second
)

// retries has delay levels, retries and dead letters.
type retries struct {
	messaging *messaging
	topic     string
	got       *received
	consumer  rocketmq.PushConsumer
	sentAt    time.Time
	arrivedAt time.Time
}

// start comes early, so that the client's timers run while other cases do.
func (r *retries) start() {
	r.messaging.createTopic(r.topic)
	r.got = newReceived()
	r.consumer = startConsumer(retryGroup, r.topic, "*", r.listen,
		consumer.WithMaxReconsumeTimes(2))
	r.sentAt = time.Now()
	for _, tag := range []string{"Delayed", "FailsOnce", "FailsAlways"} {
		made := message(r.topic, tag, 1)
		if tag == "Delayed" {
			made.WithDelayTimeLevel(delayLevel)
		}
		result, problem := r.messaging.sends.SendSync(context.Background(), made)
		succeeded(problem)
		check(result.Status == primitive.SendOK, "status %d", result.Status)
	}
}

func (r *retries) listen(_ context.Context, messages ...*primitive.MessageExt) (
	consumer.ConsumeResult, error) {
	one := messages[0]
	if one.GetTags() == "Delayed" {
		r.arrivedAt = time.Now()
	}
	r.got.add(one)
	if one.GetTags() == "FailsAlways" || one.GetTags() == "FailsOnce" && one.ReconsumeTimes == 0 {
		return consumer.ConsumeRetryLater, nil
	}
	return consumer.ConsumeSuccess, nil
}

func (r *retries) run() {
	runCase("delayed-message-comes-in-time", func() {
		r.awaitTimes("Delayed body 1", 1)
		waited := r.arrivedAt.Sub(r.sentAt)
		say("INFO delayed_ms=%d", waited.Milliseconds())
		check(waited >= delay, "early, after %s", waited)
		check(r.got.of("Delayed body 1")[0].Topic == r.topic, "topic")
	})
	runCase("a-failed-message-comes-again", func() {
		again := r.awaitTimes("FailsOnce body 1", 2)[1]
		check(again.ReconsumeTimes == 1 && again.Topic == r.topic, "the second attempt: %s", again)
	})
	runCase("the-last-failure-ends-in-the-dead-letter-topic", func() {
		r.awaitTimes("FailsAlways body 1", 3)
		letter := r.deadLetter("FailsAlways body 1")
		check(letter.ReconsumeTimes == 3, "%d attempts", letter.ReconsumeTimes)
		check(letter.GetProperty("DLQ_ORIGIN_TOPIC") == r.topic, "topic it came from")
	})
	runCase("nothing-came-once-too-often", func() {
		for body, times := range map[string]int{
			"Delayed body 1": 1, "FailsOnce body 1": 2, "FailsAlways body 1": 3,
		} {
			check(len(r.got.of(body)) == times, "%s came %d times", body, len(r.got.of(body)))
		}
	})
	r.consumer.Shutdown()
}

func (r *retries) awaitTimes(body string, times int) []*primitive.MessageExt {
	await(retryLimit, body, func() bool { return len(r.got.of(body)) >= times })
	return r.got.of(body)
}

// deadLetter is the message as somebody finds it who consumes the group's dead letters.
func (r *retries) deadLetter(body string) *primitive.MessageExt {
	got := newReceived()
	var reader rocketmq.PushConsumer
	await(120*time.Second, "the dead letter topic is routed", func() bool {
		made, problem := tryConsumer(retryGroup+"Dead", "%DLQ%"+retryGroup, "*", got.keep)
		reader = made
		return problem == nil
	})
	defer reader.Shutdown()
	await(120*time.Second, "the dead letter", func() bool { return got.of(body) != nil })
	return got.of(body)[0]
}
