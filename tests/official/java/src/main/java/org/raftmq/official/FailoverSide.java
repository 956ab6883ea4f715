package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.hook.SendMessageContext;
import org.apache.rocketmq.client.hook.SendMessageHook;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Producers and consumers with the same settings, and what they saw of a round. */
final class FailoverSide {
    private static final int PRODUCERS = 3;
    private static final int CONSUMERS = 2;
    private static final long LATE_MS = 2_000;
    private static final long DRAIN_LIMIT_MS = 120_000;
    private static final int TUNED_MS = 500;
    private static final int START_MS = 60_000;

    private final String nameServers;
    private final String name;
    private final boolean tuned;
    private final String topic;
    private final List<DefaultMQPushConsumer> consumers = new ArrayList<>();
    private final List<Sender> senders = new ArrayList<>();
    /** When the send of each acknowledged message began, and of those whose delivery is awaited. */
    private final Map<String, Long> acknowledged = new ConcurrentHashMap<>();
    private final Map<String, Long> undelivered = new ConcurrentHashMap<>();
    /** Messages with an attempt whose outcome the client did not hear. */
    private final Set<String> unknown = ConcurrentHashMap.newKeySet();
    private final Map<String, Set<String>> places = new ConcurrentHashMap<>();
    private final AtomicLong deliveredAgain = new AtomicLong();
    private final AtomicLong longestWaitMs = new AtomicLong();
    private final AtomicLong goneOnAtMs = new AtomicLong();
    private final AtomicLong late = new AtomicLong();
    private volatile long markedAtMs = Long.MAX_VALUE;
    private volatile boolean stopped;

    FailoverSide(String nameServers, String name, boolean tuned) {
        this.nameServers = nameServers;
        this.name = name;
        this.tuned = tuned;
        this.topic = "FailoverTable-" + name;
    }

    void start() throws Exception {
        for (int n = 0; n < CONSUMERS; n++) {
            startConsumer("consumer-" + name + n);
        }
        for (int n = 0; n < PRODUCERS; n++) {
            Sender sender = new Sender(startProducer("producer-" + name + n));
            senders.add(sender);
            sender.start();
        }
        Cases.await(180_000, "messages of every producer consumed", () ->
                places.size() > 100 && senders.stream().allMatch(sender -> sender.sent > 10));
    }

    private void startConsumer(String instance) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("FailoverTable-" + name);
        consumer.setNamesrvAddr(nameServers);
        consumer.setInstanceName(instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if (tuned) {
            consumer.setPollNameServerInterval(TUNED_MS);
            consumer.setPullTimeDelayMillsWhenException(TUNED_MS);
        }
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message ->
                    take(message, context.getMessageQueue().getBrokerName()));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        start(consumer, () -> {
            consumer.start();
            return consumer.getDefaultMQPushConsumerImpl().getmQClientFactory();
        });
        consumers.add(consumer);
    }

    private DefaultMQProducer startProducer(String instance) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("FailoverTable-" + name);
        producer.setNamesrvAddr(nameServers);
        producer.setInstanceName(instance);
        if (tuned) {
            producer.setPollNameServerInterval(TUNED_MS);
            // Not in 4.x.
            DefaultMQProducer.class.getMethod("setSendMsgMaxTimeoutPerRequest", int.class)
                    .invoke(producer, TUNED_MS);
        }
        producer.getDefaultMQProducerImpl().registerSendMessageHook(new SendMessageHook() {
            @Override
            public String hookName() {
                return "attempts";
            }

            @Override
            public void sendMessageBefore(SendMessageContext context) {}

            @Override
            public void sendMessageAfter(SendMessageContext context) {
                if (context.getException() != null) {
                    unknown.add(context.getMessage().getProperty("UNIQ_KEY"));
                }
            }
        });
        start(producer, () -> {
            producer.start();
            return producer.getDefaultMQProducerImpl().getMqClientFactory();
        });
        return producer;
    }

    /**
     * A client that is not answered within three seconds does not start. Once it has, it waits no
     * longer for any answer than it is shipped to: that is part of how it goes through a failover.
     */
    private static void start(ClientConfig client, Callable<MQClientInstance> starting)
            throws Exception {
        int shippedMs = client.getMqClientApiTimeout();
        client.setMqClientApiTimeout(START_MS);
        MQClientInstance started = starting.call();
        // Its own copy; not to be had in 4.x.
        Object config = MQClientInstance.class.getMethod("getClientConfig").invoke(started);
        ((ClientConfig) config).setMqClientApiTimeout(shippedMs);
    }

    private void take(MessageExt message, String group) {
        long now = System.currentTimeMillis();
        String place = group + "/" + message.getQueueId() + "/" + message.getQueueOffset();
        String id = message.getMsgId();
        if (!places.computeIfAbsent(id, key -> ConcurrentHashMap.newKeySet()).add(place)) {
            deliveredAgain.incrementAndGet();
            return;
        }
        long begun = Long.parseLong(new String(message.getBody(), UTF_8));
        if (undelivered.remove(id) == null && acknowledged.containsKey(id)) {
            // The same message at a second place.
            return;
        }
        if (begun >= markedAtMs) {
            goneOnAtMs.compareAndSet(0, now);
        }
        longestWaitMs.accumulateAndGet(now - begun, Math::max);
        if (now - begun > LATE_MS) {
            late.incrementAndGet();
        }
    }

    void mark() {
        goneOnAtMs.set(0);
        late.set(0);
        senders.forEach(Sender::mark);
        markedAtMs = System.currentTimeMillis();
    }

    String report() {
        long now = System.currentTimeMillis();
        long gap = 0;
        long failed = 0;
        for (Sender sender : senders) {
            gap = Math.max(gap, Math.max(sender.longestGapMs, now - sender.lastAckMs));
            failed += sender.failed;
        }
        long waiting = undelivered.values().stream().filter(at -> now - at > LATE_MS).count();
        long goneOn = goneOnAtMs.get() == 0 ? now : goneOnAtMs.get();
        return "side=" + name + " failed=" + failed + " gap_ms=" + gap
                + " go_on_ms=" + (goneOn - markedAtMs) + " late=" + (late.get() + waiting);
    }

    /** No more sends; every acknowledged message is to arrive. */
    String end() throws Exception {
        stopped = true;
        for (Sender sender : senders) {
            sender.join();
        }
        long end = System.currentTimeMillis() + DRAIN_LIMIT_MS;
        while (!places.keySet().containsAll(acknowledged.keySet())
                && System.currentTimeMillis() < end) {
            Thread.sleep(50);
        }
        long lost = acknowledged.keySet().stream().filter(id -> !places.containsKey(id)).count();
        List<String> twice = places.entrySet().stream()
                .filter(entry -> entry.getValue().size() > 1).map(Map.Entry::getKey).toList();
        long unexplained = twice.stream().filter(id -> !unknown.contains(id)).count();
        return "side=" + name + " acknowledged=" + acknowledged.size() + " lost=" + lost
                + " stored_twice=" + twice.size() + " unexplained=" + unexplained
                + " delivered_again=" + deliveredAgain + " longest_wait_ms=" + longestWaitMs;
    }

    /** One producer that sends one message after the other. */
    private final class Sender extends Thread {
        private final DefaultMQProducer producer;
        private volatile long lastAckMs = System.currentTimeMillis();
        private volatile long longestGapMs;
        private volatile long failed;
        private volatile long sent;

        Sender(DefaultMQProducer producer) {
            this.producer = producer;
        }

        void mark() {
            longestGapMs = 0;
            failed = 0;
        }

        @Override
        public void run() {
            while (!stopped) {
                long begun = System.currentTimeMillis();
                Message message = new Message(topic, Long.toString(begun).getBytes(UTF_8));
                try {
                    SendResult result = producer.send(message);
                    Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
                    acknowledge(result.getMsgId(), begun);
                    Thread.sleep(5);
                } catch (Exception problem) {
                    failed++;
                    problem.printStackTrace();
                }
            }
        }

        private void acknowledge(String id, long begun) {
            acknowledged.put(id, begun);
            undelivered.put(id, begun);
            if (places.containsKey(id)) {
                undelivered.remove(id);
            }
            long now = System.currentTimeMillis();
            longestGapMs = Math.max(longestGapMs, now - lastAckMs);
            lastAckMs = now;
            sent++;
        }
    }
}
