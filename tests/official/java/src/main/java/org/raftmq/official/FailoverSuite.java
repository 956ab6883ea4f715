package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The leader dies by kill -9 while a producer and a consumer are at work. */
final class FailoverSuite {
    private static final int MESSAGES_EACH_SIDE = 500;
    private static final long FAILOVER_LIMIT_MS = 60_000;

    private final Cluster cluster;
    private final DefaultMQAdminExt admin;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String group;
    private final Set<String> acknowledged = ConcurrentHashMap.newKeySet();
    private final AtomicLong longestGapMs = new AtomicLong();
    private final AtomicLong refused = new AtomicLong();
    private SendResult beforeKill;

    FailoverSuite(Cluster cluster, String suffix) throws Exception {
        this.cluster = cluster;
        this.topic = "OfficialFailover_" + suffix;
        this.group = "OfficialFailoverConsumer_" + suffix;
        this.admin = cluster.admin();
        this.producer = cluster.producer("OfficialFailoverProducer_" + suffix);
    }

    void run(Cases cases) throws Exception {
        Cluster.createTopic(admin, topic, 6);
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        Received received = Received.start(consumer, topic, "*");
        beforeKill = producer.send(new Message(topic, "before".getBytes(UTF_8)));
        acknowledged.add(beforeKill.getMsgId());
        AtomicBoolean stop = new AtomicBoolean();
        Thread sender = new Thread(() -> sendUntil(stop));
        sender.start();

        cases.run("failover-send-goes-on", this::killAndSend);
        stop.set(true);
        sender.join();
        Cases.info("failover_gap_ms", longestGapMs.get());
        Cases.info("failover_sends_failed", refused.get());
        cases.run("failover-consume-goes-on", () ->
                received.awaitAll(acknowledged, FAILOVER_LIMIT_MS));
        cases.run("failover-nothing-acknowledged-lost", this::nothingLost);
        cases.run("failover-old-message-viewed", this::oldMessageViewed);
        consumer.shutdown();
        producer.shutdown();
        admin.shutdown();
    }

    private void sendUntil(AtomicBoolean stop) {
        long lastAck = System.nanoTime();
        for (int n = 0; !stop.get(); n++) {
            try {
                Message message = new Message(topic, "T", ("failover " + n).getBytes(UTF_8));
                SendResult result = producer.send(message);
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    acknowledged.add(result.getMsgId());
                    long now = System.nanoTime();
                    longestGapMs.accumulateAndGet((now - lastAck) / 1_000_000, Math::max);
                    lastAck = now;
                }
                Thread.sleep(1);
            } catch (Exception problem) {
                refused.incrementAndGet();
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(20);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private void killAndSend() throws Exception {
        Cases.await(120_000, "sends before the kill", () ->
                acknowledged.size() >= MESSAGES_EACH_SIDE);
        Cases.killLeader();
        int atKill = acknowledged.size();
        Cases.await(FAILOVER_LIMIT_MS, "sends after the kill", () ->
                acknowledged.size() >= atKill + MESSAGES_EACH_SIDE);
    }

    /** A group of its own reads from the first offset: acknowledged is a subset of stored. */
    private void nothingLost() throws Exception {
        DefaultMQPushConsumer reader = cluster.consumer(group + "_all");
        Received received = Received.start(reader, topic, "*");
        received.awaitAll(acknowledged, FAILOVER_LIMIT_MS);
        reader.shutdown();
        Cases.info("failover_acknowledged", acknowledged.size());
    }

    /** The offset id names the dead broker; the same position on the new leader is the message. */
    private void oldMessageViewed() throws Exception {
        long position = org.apache.rocketmq.common.message.MessageDecoder
                .decodeMessageId(beforeKill.getOffsetMsgId()).getOffset();
        String leader = admin.examineBrokerClusterInfo().getBrokerAddrTable()
                .get(beforeKill.getMessageQueue().getBrokerName()).getBrokerAddrs().get(0L);
        String[] address = leader.split(":");
        var socket = new java.net.InetSocketAddress(address[0], Integer.parseInt(address[1]));
        String id = org.apache.rocketmq.common.message.MessageDecoder
                .createMessageId(socket, position);
        MessageExt found = admin.viewMessage(topic, id);
        Cases.equal("before", new String(found.getBody(), UTF_8), "body");
    }
}
