package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The kinds of consumers beside the concurrent one: in order, broadcast, pull, lite pull. */
final class ConsumerSuite {
    private static final int QUEUES = 6;
    private static final int MESSAGES = 200;

    private final Cluster cluster;
    private final DefaultMQAdminExt admin;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String group;
    /** In the order of sending. */
    private final Set<String> sent = new LinkedHashSet<>();

    ConsumerSuite(Cluster cluster, String suffix) throws Exception {
        this.cluster = cluster;
        this.topic = "OfficialKinds_" + suffix;
        this.group = "OfficialKindsConsumer_" + suffix;
        this.admin = cluster.admin();
        this.producer = cluster.producer("OfficialKindsProducer_" + suffix);
    }

    void run(Cases cases) throws Exception {
        Cluster.createTopic(admin, topic, QUEUES);
        send(MESSAGES);
        cases.run("orderly-consumer-keeps-order", this::inOrder);
        cases.run("orderly-consumers-share-and-take-over", this::inOrderShared);
        cases.run("orderly-consumer-gives-up-into-dead-letters", this::inOrderGivesUp);
        cases.run("broadcast-reaches-every-consumer", this::broadcast);
        cases.run("pull-consumer-reads-all", this::pull);
        cases.run("lite-pull-subscribes-and-resumes", this::litePull);
        cases.run("lite-pull-assigns-and-seeks", this::litePullAssigned);
        producer.shutdown();
        admin.shutdown();
    }

    private void send(int count) throws Exception {
        for (int n = 0; n < count; n++) {
            Message message = new Message(topic, "T", ("kind " + n).getBytes(UTF_8));
            sent.add(producer.send(
                    message, (queues, m, key) -> queues.get((Integer) key % queues.size()), n)
                    .getMsgId());
        }
    }

    private void inOrder() throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group + "_ordered");
        InOrder got = new InOrder(3);
        got.start(consumer, topic);
        Cases.await(120_000, "all consumed", () -> got.ids.containsAll(sent));
        Cases.equal(List.of(), got.mistakes, "mistakes");
        Cases.equal(3, got.suspended.get(), "messages that were refused once");
        consumer.shutdown();
    }

    /** A second consumer gets its half, and what it had when it stops, below the lease of a lock. */
    private void inOrderShared() throws Exception {
        InOrder got = new InOrder(0);
        DefaultMQPushConsumer first = cluster.consumer(group + "_ordered_shared");
        DefaultMQPushConsumer second = cluster.consumer(group + "_ordered_shared");
        got.start(first, topic);
        Cases.await(120_000, "one consumer has all", () -> got.ids.containsAll(sent));
        got.start(second, topic);
        Cases.await(45_000, "two consumers have half each", () ->
                locked(first) == QUEUES / 2 && locked(second) == QUEUES / 2);
        send(MESSAGES);
        Cases.await(120_000, "both consume", () -> got.ids.containsAll(sent));
        second.shutdown();
        send(MESSAGES);
        Cases.await(25_000, "the one left consumes all", () -> got.ids.containsAll(sent));
        Cases.equal(List.of(), got.mistakes, "mistakes");
        first.shutdown();
    }

    /** One message that never succeeds goes to the dead letters; what follows it is consumed then. */
    private void inOrderGivesUp() throws Exception {
        String own = group + "_ordered_gives_up";
        DefaultMQPushConsumer consumer = cluster.consumer(own);
        consumer.setMaxReconsumeTimes(1);
        InOrder got = new InOrder(0);
        // The first of its queue: once those behind it are consumed, it was given up.
        String doomed = sent.iterator().next();
        got.refuseAlways(doomed);
        got.start(consumer, topic);
        Set<String> others = new HashSet<>(sent);
        others.remove(doomed);
        Cases.await(120_000, "all others consumed", () -> got.ids.containsAll(others));
        consumer.shutdown();
        DefaultMQPushConsumer reader = cluster.consumer(own + "_dead");
        Received dead = Received.start(reader, "%DLQ%" + own, "*");
        Cases.await(120_000, "the dead letter", () -> !dead.byId.isEmpty());
        MessageExt letter = dead.byId.values().iterator().next();
        Cases.equal(doomed, letter.getProperty("ORIGIN_MESSAGE_ID"), "message");
        reader.shutdown();
    }

    private int locked(DefaultMQPushConsumer consumer) {
        int queues = 0;
        var table = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl();
        for (var entry : table.getProcessQueueTable().entrySet()) {
            boolean own = entry.getKey().getTopic().equals(topic);
            queues += own && entry.getValue().isLocked() ? 1 : 0;
        }
        return queues;
    }

    private void broadcast() throws Exception {
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        List<Received> received = new ArrayList<>();
        for (int n = 0; n < 2; n++) {
            DefaultMQPushConsumer consumer = cluster.consumer(group + "_broadcast");
            Cluster.broadcast(consumer);
            consumers.add(consumer);
            received.add(Received.start(consumer, topic, "*"));
        }
        for (Received one : received) {
            one.awaitAll(sent, 120_000);
        }
        consumers.forEach(DefaultMQPushConsumer::shutdown);
    }

    @SuppressWarnings("deprecation")
    private void pull() throws Exception {
        DefaultMQPullConsumer consumer = cluster.pullConsumer(group + "_pull");
        Set<String> got = new HashSet<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long offset = consumer.minOffset(queue);
            long end = consumer.maxOffset(queue);
            while (offset < end) {
                PullResult result = consumer.pullBlockIfNotFound(queue, "*", offset, 32);
                Cases.equal(PullStatus.FOUND, result.getPullStatus(), "status");
                result.getMsgFoundList().forEach(message -> got.add(message.getMsgId()));
                offset = result.getNextBeginOffset();
            }
            consumer.updateConsumeOffset(queue, offset);
            Cases.equal(end, consumer.fetchConsumeOffset(queue, false), "own progress");
            PullResult nothing = consumer.pull(queue, "*", end, 32);
            Cases.equal(PullStatus.NO_NEW_MSG, nothing.getPullStatus(), "status at the end");
        }
        Cases.equal(sent, got, "messages");
        consumer.shutdown();
    }

    private void litePull() throws Exception {
        DefaultLitePullConsumer consumer = cluster.litePullConsumer(group + "_lite");
        consumer.subscribe(topic, "*");
        consumer.start();
        Set<String> got = new HashSet<>();
        Cases.await(120_000, "all polled", () -> poll(consumer, got).containsAll(sent));
        consumer.commitSync();
        consumer.shutdown();
        DefaultLitePullConsumer next = cluster.litePullConsumer(group + "_lite");
        next.subscribe(topic, "*");
        next.start();
        Set<String> before = new HashSet<>(sent);
        send(QUEUES);
        Set<String> more = new HashSet<>();
        Cases.await(120_000, "what is new polled", () ->
                poll(next, more).size() >= QUEUES);
        more.retainAll(before);
        Cases.equal(Set.of(), more, "messages that were consumed before");
        next.shutdown();
    }

    private static Set<String> poll(DefaultLitePullConsumer consumer, Set<String> got) {
        for (MessageExt message : consumer.poll(1_000)) {
            got.add(message.getMsgId());
        }
        return got;
    }

    /**
     * Each seek waits until the brokers hold all pulls: the client interrupts the pull of the queue
     * it seeks, and an interrupt in the middle of a send closes the connection. Pulls of other
     * queues fail with it, and the client has forgotten by then where these were to go.
     */
    private void litePullAssigned() throws Exception {
        DefaultLitePullConsumer consumer = cluster.litePullConsumer(group + "_assigned");
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Cases.equal(QUEUES, queues.size(), "queues");
        consumer.assign(queues);
        pollAll(consumer);
        for (MessageQueue queue : queues) {
            consumer.seekToBegin(queue);
        }
        pollAll(consumer);
        MessageQueue one = queues.iterator().next();
        consumer.seek(one, 3);
        List<MessageExt> again = new ArrayList<>();
        Cases.await(120_000, "the queue again", () -> {
            again.addAll(consumer.poll(1_000));
            return !again.isEmpty();
        });
        Cases.equal(one.getQueueId(), again.get(0).getQueueId(), "queue of the seek");
        Cases.equal(3L, again.get(0).getQueueOffset(), "first offset after the seek");
        consumer.shutdown();
    }

    /** Until all that was sent has come, and then nothing more for a second. */
    private void pollAll(DefaultLitePullConsumer consumer) throws Exception {
        Set<String> got = new HashSet<>();
        Cases.await(120_000, "all polled", () -> poll(consumer, got).containsAll(sent));
        Cases.await(120_000, "nothing more", () -> consumer.poll(1_000).isEmpty());
    }
}
