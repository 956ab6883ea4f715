package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.command.topic.DeleteTopicSubCommand;

/** What the official admin API asks: offsets, statistics, topics and groups. */
final class AdminSuite {
    private static final int QUEUES = 6;

    private final Cluster cluster;
    private final DefaultMQAdminExt admin;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String group;
    private final Set<String> sent = new HashSet<>();

    AdminSuite(Cluster cluster, String suffix) throws Exception {
        this.cluster = cluster;
        this.topic = "OfficialAdmin_" + suffix;
        this.group = "OfficialAdminConsumer_" + suffix;
        this.admin = cluster.admin();
        this.producer = cluster.producer("OfficialAdminProducer_" + suffix);
    }

    void run(Cases cases) throws Exception {
        Cluster.createTopic(admin, topic, QUEUES);
        cases.run("queue-offsets", this::queueOffsets);
        cases.run("topic-statistics", this::topicStatistics);
        cases.run("create-group", this::createGroup);
        cases.run("consumer-progress", this::consumerProgress);
        cases.run("topic-list", this::topicList);
        cases.run("delete-topic", this::deleteTopic);
        producer.shutdown();
        admin.shutdown();
    }

    private void queueOffsets() throws Exception {
        Cases.await(120_000, "the topic is routed", () -> {
            try {
                return producer.fetchPublishMessageQueues(topic).size() == QUEUES;
            } catch (MQClientException notYet) {
                return false;
            }
        });
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        for (int n = 0; n < 10; n++) {
            SendResult result = producer.send(new Message(topic, ("b" + n).getBytes(UTF_8)), queue);
            Cases.equal((long) n, result.getQueueOffset(), "queue offset");
            sent.add(result.getMsgId());
        }
        Cases.equal(0L, admin.minOffset(queue), "minimum");
        Cases.equal(10L, admin.maxOffset(queue), "maximum");
        Cases.equal(0L, admin.searchOffset(queue, 1_000), "offset of long ago");
        long later = System.currentTimeMillis() + 3_600_000;
        Cases.equal(10L, admin.searchOffset(queue, later), "offset of the future");
        Cases.check(admin.earliestMsgStoreTime(queue) > 1_600_000_000_000L, "earliest store time");
    }

    private void topicStatistics() throws Exception {
        long messages = 0;
        var queues = admin.examineTopicStats(topic).getOffsetTable();
        for (var offsets : queues.values()) {
            messages += offsets.getMaxOffset() - offsets.getMinOffset();
        }
        Cases.equal(QUEUES, queues.size(), "queues");
        Cases.equal(10L, messages, "messages");
    }

    /** The class of the configuration moved between 4.x and 5.x, hence the reflection. */
    private void createGroup() throws Exception {
        for (var method : DefaultMQAdminExt.class.getMethods()) {
            if (method.getName().equals("createAndUpdateSubscriptionGroupConfig")) {
                Class<?> type = method.getParameterTypes()[1];
                Object config = type.getConstructor().newInstance();
                type.getMethod("setGroupName", String.class).invoke(config, group);
                type.getMethod("setRetryMaxTimes", int.class).invoke(config, 7);
                for (String leader : Cluster.leaders(admin)) {
                    method.invoke(admin, leader, config);
                    var stored = admin.examineSubscriptionGroupConfig(leader, group);
                    Cases.equal(7, stored.getRetryMaxTimes(), "retryMaxTimes");
                }
                return;
            }
        }
        throw new AssertionError("this client cannot create groups");
    }

    private void consumerProgress() throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        Received received = Received.start(consumer, topic, "*");
        received.awaitAll(sent, 120_000);
        var members = admin.examineConsumerConnectionInfo(group).getConnectionSet();
        Cases.equal(1, members.size(), "connected consumers");
        // An orderly shutdown commits the offsets.
        consumer.shutdown();
        Cluster.awaitNothingLeft(120_000, admin, group, topic, QUEUES);
    }

    private void topicList() throws Exception {
        Set<String> topics = admin.fetchAllTopicList().getTopicList();
        Cases.check(topics.contains(topic), "the topic is listed");
    }

    private void deleteTopic() throws Exception {
        String doomed = topic + "_doomed";
        Cluster.createTopic(admin, doomed, QUEUES);
        producer.send(new Message(doomed, "x".getBytes(UTF_8)));
        // As mqadmin does: every member is told, followers included, then the NameServers.
        for (String name : admin.examineBrokerClusterInfo().getClusterAddrTable().keySet()) {
            DeleteTopicSubCommand.deleteTopic(admin, name, doomed);
        }
        Cases.await(120_000, "the topic is gone", () -> {
            try {
                return !admin.fetchAllTopicList().getTopicList().contains(doomed);
            } catch (Exception problem) {
                return false;
            }
        });
    }
}
