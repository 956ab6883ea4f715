package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.ToIntFunction;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Delay levels, retries and dead letters. The cluster's levels are {@code 1s 3s 1s 1s 1s}: retries
 * begin at the third.
 */
final class RetrySuite {
    private static final int DELAY_LEVEL = 2;
    private static final long DELAY_MS = 3_000;
    /** A client looks at a new retry topic at its next rebalance, every 20 s. */
    private static final long LIMIT_MS = 60_000;
    private static final int SUCCEEDS = Integer.MIN_VALUE;

    private final Cluster cluster;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String group;

    RetrySuite(Cluster cluster, String suffix) throws Exception {
        this.cluster = cluster;
        this.topic = "Retry_" + suffix;
        this.group = "RetryConsumer_" + suffix;
        this.producer = cluster.producer("RetryProducer_" + suffix);
    }

    /** Fails a message as often as a rule says, and keeps every delivery. */
    private static final class Failing implements MessageListenerConcurrently {
        final Map<String, List<MessageExt>> deliveries = new ConcurrentHashMap<>();
        final Map<String, Long> firstAtMs = new ConcurrentHashMap<>();
        private final ToIntFunction<MessageExt> rule;

        /** The rule names the delay level of the next attempt, or {@link #SUCCEEDS}. */
        Failing(ToIntFunction<MessageExt> rule) {
            this.rule = rule;
        }

        @Override
        public ConsumeConcurrentlyStatus consumeMessage(
                List<MessageExt> messages, ConsumeConcurrentlyContext context) {
            MessageExt message = messages.get(0);
            firstAtMs.putIfAbsent(message.getMsgId(), System.currentTimeMillis());
            deliveries.computeIfAbsent(message.getMsgId(), id -> new CopyOnWriteArrayList<>())
                    .add(message);
            int level = rule.applyAsInt(message);
            if (level == SUCCEEDS) {
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            }
            context.setDelayLevelWhenNextConsume(level);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        }

        int times(String id) {
            return deliveries.getOrDefault(id, List.of()).size();
        }

        MessageExt delivery(String id, int attempt) {
            return deliveries.get(id).get(attempt);
        }
    }

    void run(Cases cases) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        consumer.setMaxReconsumeTimes(2);
        Failing attempts = new Failing(RetrySuite::nextLevel);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(attempts);
        consumer.start();
        // All at once: each case waits for what is its own.
        long sentAtMs = System.currentTimeMillis();
        SendResult delayed = send("Delayed", DELAY_LEVEL);
        SendResult once = send("FailsOnce", 0);
        SendResult dead = send("FailsAlways", 0);
        SendResult givenUp = send("GivesUp", 0);
        cases.run("delayed-message-comes-in-time", () -> inTime(attempts, delayed, sentAtMs));
        cases.run("a-failed-message-comes-again", () -> comesAgain(attempts, once));
        cases.run("the-last-failure-ends-in-the-dead-letter-topic", () -> dies(attempts, dead));
        cases.run("giving-up-ends-in-the-dead-letter-topic", () -> givesUp(attempts, givenUp));
        cases.run("nothing-came-once-too-often", () -> {
            Cases.equal(1, attempts.times(delayed.getMsgId()), "deliveries of the delayed message");
            Cases.equal(2, attempts.times(once.getMsgId()), "deliveries of one that failed once");
            Cases.equal(3, attempts.times(dead.getMsgId()), "deliveries of one that always fails");
            Cases.equal(1, attempts.times(givenUp.getMsgId()), "deliveries of one given up");
        });
        consumer.shutdown();
        producer.shutdown();
    }

    /** What the consumer makes of a message, by its tag. */
    private static int nextLevel(MessageExt message) {
        switch (message.getTags()) {
            case "FailsOnce":
                return message.getReconsumeTimes() == 0 ? 0 : SUCCEEDS;
            case "FailsAlways":
                return 0;
            case "GivesUp":
                return -1;
            default:
                return SUCCEEDS;
        }
    }

    private SendResult send(String tag, int level) throws Exception {
        Message message = new Message(topic, tag, "key-" + tag, ("body " + tag).getBytes(UTF_8));
        if (level > 0) {
            message.setDelayTimeLevel(level);
        }
        SendResult result = producer.send(message);
        Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        return result;
    }

    private void inTime(Failing attempts, SendResult sent, long sentAtMs) throws Exception {
        String id = sent.getMsgId();
        Cases.await(LIMIT_MS, "the delayed message", () -> attempts.times(id) > 0);
        long waitedMs = attempts.firstAtMs.get(id) - sentAtMs;
        Cases.info("delayed_ms", waitedMs);
        Cases.check(waitedMs >= DELAY_MS, "early, after " + waitedMs + " ms");
        MessageExt message = attempts.delivery(id, 0);
        Cases.equal(topic, message.getTopic(), "topic");
        Cases.equal(sent.getMessageQueue().getQueueId(), message.getQueueId(), "queue");
        Cases.equal("body Delayed", new String(message.getBody(), UTF_8), "body");
        Cases.equal("key-Delayed", message.getKeys(), "keys");
        Cases.equal(0, message.getReconsumeTimes(), "attempts before");
    }

    private void comesAgain(Failing attempts, SendResult sent) throws Exception {
        String id = sent.getMsgId();
        Cases.await(LIMIT_MS, "the second attempt", () -> attempts.times(id) > 1);
        MessageExt message = attempts.delivery(id, 1);
        Cases.equal(1, message.getReconsumeTimes(), "attempts before");
        Cases.equal(topic, message.getTopic(), "topic");
        Cases.equal("body FailsOnce", new String(message.getBody(), UTF_8), "body");
        Cases.equal(sent.getOffsetMsgId(), message.getProperty("ORIGIN_MESSAGE_ID"), "first id");
    }

    private void dies(Failing attempts, SendResult sent) throws Exception {
        String id = sent.getMsgId();
        Cases.await(LIMIT_MS, "the third attempt", () -> attempts.times(id) > 2);
        MessageExt found = deadLetter("always", sent);
        Cases.equal(3, found.getReconsumeTimes(), "attempts");
        Cases.equal("body FailsAlways", new String(found.getBody(), UTF_8), "body");
        Cases.equal(topic, found.getProperty("DLQ_ORIGIN_TOPIC"), "topic it came from");
        String origin = found.getProperty("DLQ_ORIGIN_MESSAGE_ID");
        Cases.equal(sent.getOffsetMsgId(), origin, "id under which it came");
    }

    private void givesUp(Failing attempts, SendResult sent) throws Exception {
        MessageExt found = deadLetter("given-up", sent);
        Cases.equal(1, found.getReconsumeTimes(), "attempts");
        Cases.equal("body GivesUp", new String(found.getBody(), UTF_8), "body");
    }

    /** The message as somebody finds it who consumes the group's dead letters. */
    private MessageExt deadLetter(String name, SendResult sent) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group + "_dead_" + name);
        Received received = Received.start(consumer, "%DLQ%" + group, "*");
        received.awaitAll(Set.of(sent.getMsgId()), LIMIT_MS);
        consumer.shutdown();
        return received.byId.get(sent.getMsgId());
    }
}
