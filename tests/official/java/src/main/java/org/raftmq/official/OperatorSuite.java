package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What operators do to a group that is consuming: look into its clients, and move it. */
final class OperatorSuite {
    private static final int MESSAGES = 40;
    private static final int QUEUES = 6;
    /** A consumer that is told of a reset waits ten seconds before it follows. */
    private static final long RESET_LIMIT_MS = 60_000;

    private final Cluster cluster;
    private final DefaultMQAdminExt admin;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String group;
    private final Set<String> sent = new HashSet<>();
    private DefaultMQPushConsumer consumer;
    private Received received;
    private SendResult last;

    OperatorSuite(Cluster cluster, String suffix) throws Exception {
        this.cluster = cluster;
        this.topic = "OfficialOperator_" + suffix;
        this.group = "OfficialOperatorConsumer_" + suffix;
        this.admin = cluster.admin();
        this.producer = cluster.producer("OfficialOperatorProducer_" + suffix);
    }

    void run(Cases cases) throws Exception {
        Cluster.createTopic(admin, topic, QUEUES);
        send(MESSAGES);
        consumer = cluster.consumer(group);
        received = Received.start(consumer, topic, "*");
        received.awaitAll(sent, 120_000);
        cases.run("consumer-running-info", this::runningInfo);
        cases.run("consume-message-directly", this::consumeDirectly);
        cases.run("producers-of-all-groups", this::producers);
        cases.run("progress-of-all-groups", this::allProgress);
        cases.run("reset-reaches-a-running-consumer", this::resetRunning);
        cases.run("reset-of-a-stopped-group-skips", this::resetStopped);
        producer.shutdown();
        admin.shutdown();
    }

    private void send(int count) throws Exception {
        for (int n = 0; n < count; n++) {
            last = producer.send(new Message(topic, ("operator " + n).getBytes(UTF_8)));
            sent.add(last.getMsgId());
        }
    }

    private String clientId() {
        return consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
    }

    private void runningInfo() throws Exception {
        var info = admin.getConsumerRunningInfo(group, clientId(), false);
        boolean subscribed = info.getSubscriptionSet().stream().anyMatch(subscription ->
                subscription.getTopic().equals(topic));
        Cases.check(subscribed, "the subscription is shown");
        Cases.equal("false", info.getProperties().getProperty("PROP_CONSUMEORDERLY"), "orderly");
    }

    private void consumeDirectly() throws Exception {
        int before = received.deliveries.get();
        var result = admin.consumeMessageDirectly(
                group, clientId(), topic, last.getOffsetMsgId());
        Cases.equal("CR_SUCCESS", result.getConsumeResult().toString(), "result");
        Cases.equal(before + 1, received.deliveries.get(), "deliveries");
    }

    private void producers() throws Exception {
        String leader = Cluster.leaders(admin).get(0);
        Cases.await(120_000, "the producer's heartbeat", () -> {
            try {
                var groups = admin.getAllProducerInfo(leader).getData();
                return groups.containsKey(producer.getProducerGroup());
            } catch (Exception notYet) {
                return false;
            }
        });
    }

    private void allProgress() throws Exception {
        String leader = Cluster.leaders(admin).get(0);
        Cases.await(120_000, "the group's progress", () -> {
            try {
                var list = admin.fetchConsumeStatsInBroker(leader, false, 5_000);
                return list.getConsumeStatsList().stream().anyMatch(groups ->
                        groups.containsKey(group));
            } catch (Exception notYet) {
                return false;
            }
        });
    }

    private void resetRunning() throws Exception {
        received.byId.clear();
        var offsets = admin.resetOffsetByTimestamp(topic, group, 1_000L, true);
        Cases.equal(QUEUES, offsets.size(), "queues");
        offsets.forEach((queue, offset) -> Cases.equal(0L, offset, "offset of " + queue));
        received.awaitAll(sent, RESET_LIMIT_MS);
        Cluster.awaitNothingLeft(120_000, admin, group, topic, QUEUES);
    }

    private void resetStopped() throws Exception {
        consumer.shutdown();
        send(MESSAGES);
        admin.resetOffsetByTimestamp(topic, group, -1L, true);
        Cluster.awaitNothingLeft(120_000, admin, group, topic, QUEUES);
        consumer = cluster.consumer(group);
        received = Received.start(consumer, topic, "*");
        SendResult next = producer.send(new Message(topic, "next".getBytes(UTF_8)));
        received.awaitAll(Set.of(next.getMsgId()), RESET_LIMIT_MS);
        Cases.equal(1, received.byId.size(), "messages consumed");
        consumer.shutdown();
    }
}
