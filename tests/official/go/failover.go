package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	messagesEachSide = 500
	// This client goes on asking a dead leader until it asks for the route, every 30 s.
	failoverLimit = 120 * time.Second
)

// failover kills a leader by kill -9 while a producer and a consumer are at work.
type failover struct {
	messaging    *messaging
	topic        string
	lock         sync.Mutex
	acknowledged []string
	refused      atomic.Int64
	longest      time.Duration
	stop         atomic.Bool
}

func (f *failover) bodies() []string {
	f.lock.Lock()
	defer f.lock.Unlock()
	return append([]string(nil), f.acknowledged...)
}

func (f *failover) run() {
	f.messaging.createTopic(f.topic)
	got := newReceived()
	consumes := startConsumer("OfficialGoFailover", f.topic, "*", got.keep)
	done := make(chan struct{})
	go func() {
		f.send()
		close(done)
	}()
	runCase("failover-send-goes-on", func() {
		await(120*time.Second, "sends before the kill", func() bool {
			return len(f.bodies()) >= messagesEachSide
		})
		ask("KILL-LEADER")
		before := len(f.bodies())
		await(failoverLimit, "sends after the kill", func() bool {
			return len(f.bodies()) >= before+messagesEachSide
		})
	})
	f.stop.Store(true)
	<-done
	say("INFO failover_gap_ms=%d", f.longest.Milliseconds())
	say("INFO failover_sends_failed=%d", f.refused.Load())
	say("INFO failover_acknowledged=%d", len(f.acknowledged))
	runCase("failover-consume-goes-on", func() {
		await(failoverLimit, "all acknowledged consumed", func() bool {
			return got.missing(f.acknowledged) == 0
		})
	})
	consumes.Shutdown()
	// A group of its own reads from the first offset: acknowledged is a subset of stored.
	runCase("failover-nothing-acknowledged-lost", func() {
		all := newReceived()
		reader := startConsumer("OfficialGoFailoverAll", f.topic, "*", all.keep)
		defer reader.Shutdown()
		await(failoverLimit, "all acknowledged read", func() bool {
			return all.missing(f.acknowledged) == 0
		})
	})
}

func (f *failover) send() {
	sends := newProducer()
	defer sends.Shutdown()
	last := time.Now()
	for number := 0; !f.stop.Load(); number++ {
		made := message(f.topic, "T", number)
		result, problem := sends.SendSync(context.Background(), made)
		if problem != nil || result.Status != primitive.SendOK {
			f.refused.Add(1)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		f.lock.Lock()
		f.acknowledged = append(f.acknowledged, string(made.Body))
		f.lock.Unlock()
		if gap := time.Since(last); gap > f.longest {
			f.longest = gap
		}
		last = time.Now()
		time.Sleep(time.Millisecond)
	}
}
