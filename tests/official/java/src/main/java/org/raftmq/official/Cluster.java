package org.raftmq.official;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Clients of the cluster under test, with the settings that a failover test needs. */
final class Cluster {
    /** Broker groups, each led by another node. */
    static final int GROUPS = 3;
    /** The default is 30 s: how long a client goes on asking a dead leader. */
    private static final int ROUTE_POLL_MS = 1000;
    /** The default is 3 s, and a client whose first question for a route takes longer does not start. */
    private static final int ANSWER_MS = 30_000;

    private final String nameServers;
    private int instances;

    Cluster(String nameServers) {
        this.nameServers = nameServers;
    }

    DefaultMQAdminExt admin() throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(ANSWER_MS);
        admin.setNamesrvAddr(nameServers);
        admin.setInstanceName("admin-" + instances++);
        admin.start();
        return admin;
    }

    DefaultMQProducer producer(String group) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(nameServers);
        producer.setInstanceName(group + "-" + instances++);
        producer.setPollNameServerInterval(ROUTE_POLL_MS);
        producer.setMqClientApiTimeout(ANSWER_MS);
        producer.setMaxMessageSize(16 << 20);
        producer.start();
        return producer;
    }

    /** A push consumer that starts at the beginning of each queue; the caller subscribes it. */
    DefaultMQPushConsumer consumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameServers);
        consumer.setInstanceName(group + "-" + instances++);
        consumer.setPollNameServerInterval(ROUTE_POLL_MS);
        consumer.setHeartbeatBrokerInterval(ROUTE_POLL_MS);
        consumer.setMqClientApiTimeout(ANSWER_MS);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        return consumer;
    }

    /** Every consumer gets everything; the type's package differs between the versions. */
    static void broadcast(DefaultMQPushConsumer consumer) throws Exception {
        for (var method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                Class<?> model = method.getParameterTypes()[0];
                method.invoke(consumer, model.getEnumConstants()[0]);
                Cases.equal("BROADCASTING", consumer.getMessageModel().toString(), "model");
            }
        }
    }

    @SuppressWarnings("deprecation")
    DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(nameServers);
        consumer.setInstanceName(group + "-" + instances++);
        consumer.setMqClientApiTimeout(ANSWER_MS);
        consumer.start();
        return consumer;
    }

    /** The caller subscribes or assigns, and starts it. */
    DefaultLitePullConsumer litePullConsumer(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(nameServers);
        consumer.setInstanceName(group + "-" + instances++);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setMqClientApiTimeout(ANSWER_MS);
        // A pull that finds nothing occupies one for as long as the broker holds it.
        consumer.setPullThreadNums(8);
        return consumer;
    }

    /** Creates it at the leader of each group, with so many queues in all. */
    static void createTopic(DefaultMQAdminExt admin, String topic, int queues) throws Exception {
        int each = queues / GROUPS;
        Cases.equal(queues, each * GROUPS, "queues");
        List<String> leaders = leaders(admin);
        Cases.equal(GROUPS, leaders.size(), "leaders");
        for (String leader : leaders) {
            admin.createAndUpdateTopicConfig(leader, new TopicConfig(topic, each, each, 6));
        }
    }

    static void awaitNothingLeft(
            long limitMs, DefaultMQAdminExt admin, String group, String topic, int queues)
            throws Exception {
        Cases.await(limitMs, "nothing left to consume", () -> {
            try {
                var progress = admin.examineConsumeStats(group, topic);
                return progress.getOffsetTable().size() == queues
                        && progress.computeTotalDiff() == 0;
            } catch (Exception notYet) {
                return false;
            }
        });
    }

    /** The address of the leader (broker id 0) of each group, as the NameServer says now. */
    static List<String> leaders(DefaultMQAdminExt admin) throws Exception {
        List<String> leaders = new ArrayList<>();
        for (var broker : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            String leader = broker.getBrokerAddrs().get(0L);
            if (leader != null) {
                leaders.add(leader);
            }
        }
        Cases.check(!leaders.isEmpty(), "the NameServer names a leader");
        return leaders;
    }
}
