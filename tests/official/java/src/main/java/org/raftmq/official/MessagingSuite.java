package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Every way to send, and push consumers that get it all. */
final class MessagingSuite {
    private static final int QUEUES = 6;

    private final Cluster cluster;
    private final DefaultMQAdminExt admin;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String group;
    private final Set<String> sent = ConcurrentHashMap.newKeySet();
    private SendResult viewed;

    MessagingSuite(Cluster cluster, String suffix) throws Exception {
        this.cluster = cluster;
        this.topic = "Official_" + suffix;
        this.group = "OfficialConsumer_" + suffix;
        this.admin = cluster.admin();
        this.producer = cluster.producer("OfficialProducer_" + suffix);
    }

    void run(Cases cases) {
        cases.run("create-topic", this::createTopic);
        cases.run("create-topic-from-default", this::createTopicFromDefault);
        cases.run("send-sync", this::sendSync);
        cases.run("send-async", this::sendAsync);
        cases.run("send-oneway", this::sendOneway);
        cases.run("send-batch", this::sendBatch);
        cases.run("send-to-selected-queue", this::sendSelected);
        cases.run("send-compressed", this::sendCompressed);
        cases.run("send-creates-topic", this::sendCreatesTopic);
        cases.run("send-over-limit-is-refused", this::sendOverLimit);
        cases.run("view-message-by-offset-id", this::viewMessage);
        cases.run("push-consume-all", this::consumeAll);
        cases.run("push-consume-by-tag", this::consumeByTag);
        cases.run("consumer-resumes-at-its-offset", this::consumerResumes);
        cases.run("consumers-share-queues", this::consumersShare);
        producer.shutdown();
        admin.shutdown();
    }

    private void createTopic() throws Exception {
        Cluster.createTopic(admin, topic, QUEUES);
        Cases.await(120_000, "the topic is routed", () -> writeQueues(topic) == QUEUES);
    }

    private int writeQueues(String name) {
        try {
            return producer.fetchPublishMessageQueues(name).size();
        } catch (MQClientException notYet) {
            return 0;
        }
    }

    /** MQAdmin.createTopic; 5.x added a parameter for attributes. */
    private void createTopicFromDefault() throws Exception {
        String name = topic + "_copied";
        Object[] arguments = {"TBW102", name, 2, null};
        for (var method : DefaultMQProducer.class.getMethods()) {
            Class<?>[] types = method.getParameterTypes();
            boolean last = types.length < 4 || types[3] != int.class;
            if (method.getName().equals("createTopic") && types.length <= 4 && last) {
                method.invoke(producer, java.util.Arrays.copyOf(arguments, types.length));
                int queues = 2 * Cluster.GROUPS;
                Cases.await(120_000, "the topic is routed", () -> writeQueues(name) == queues);
                return;
            }
        }
        throw new AssertionError("this client has no createTopic");
    }

    private Message message(String tag, int n) {
        Message message = new Message(topic, tag, "key" + n, (tag + " body " + n).getBytes(UTF_8));
        message.putUserProperty("number", Integer.toString(n));
        return message;
    }

    private void sendSync() throws Exception {
        for (int n = 0; n < 40; n++) {
            SendResult result = producer.send(message(n % 2 == 0 ? "TagA" : "TagB", n));
            Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
            Cases.check(result.getMsgId() != null, "a unique id");
            Cases.check(result.getQueueOffset() >= 0, "a queue offset");
            sent.add(result.getMsgId());
            viewed = result;
        }
    }

    private void sendAsync() throws Exception {
        int count = 200;
        Semaphore inFlight = new Semaphore(16);
        CountDownLatch answered = new CountDownLatch(count);
        List<Throwable> problems = java.util.Collections.synchronizedList(new ArrayList<>());
        for (int n = 0; n < count; n++) {
            inFlight.acquire();
            producer.send(message("TagC", n), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    sent.add(result.getMsgId());
                    inFlight.release();
                    answered.countDown();
                }

                @Override
                public void onException(Throwable problem) {
                    problems.add(problem);
                    inFlight.release();
                    answered.countDown();
                }
            });
        }
        Cases.check(answered.await(120, TimeUnit.SECONDS), "every callback called");
        Cases.equal(List.of(), problems, "failed sends");
    }

    private void sendOneway() throws Exception {
        for (int n = 0; n < 50; n++) {
            Message message = message("TagD", n);
            producer.sendOneway(message);
            sent.add(message.getProperty("UNIQ_KEY"));
        }
    }

    private void sendBatch() throws Exception {
        List<Message> batch = new ArrayList<>();
        for (int n = 0; n < 32; n++) {
            batch.add(message("TagE", n));
        }
        SendResult result = producer.send(batch);
        Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Cases.equal(32, result.getMsgId().split(",").length, "unique ids answered");
        String offsetIds = result.getOffsetMsgId();
        Cases.equal(32, offsetIds.split(",").length, "offset ids answered");
        sent.addAll(List.of(result.getMsgId().split(",")));
    }

    private void sendSelected() throws Exception {
        long previous = -1;
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(2);
        for (int n = 0; n < 20; n++) {
            SendResult result = producer.send(
                    message("TagF", n), (queues, message, key) -> (MessageQueue) key, queue);
            Cases.equal(queue, result.getMessageQueue(), "queue");
            Cases.check(result.getQueueOffset() > previous, "queue offsets grow");
            previous = result.getQueueOffset();
            sent.add(result.getMsgId());
        }
    }

    /** Bodies of 4 KiB and more leave this client compressed. */
    private void sendCompressed() throws Exception {
        Message message = message("TagG", 0);
        message.setBody("raft ".repeat(20_000).getBytes(UTF_8));
        SendResult result = producer.send(message);
        Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        sent.add(result.getMsgId());
        MessageExt stored = admin.viewMessage(topic, result.getOffsetMsgId());
        Cases.equal("raft ".repeat(20_000), new String(stored.getBody(), UTF_8), "body");
    }

    private void sendCreatesTopic() throws Exception {
        String name = topic + "_auto";
        Message message = new Message(name, "first".getBytes(UTF_8));
        SendResult result = producer.send(message);
        Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
        Cases.await(120_000, "the topic is routed", () -> writeQueues(name) > 0);
    }

    private void sendOverLimit() throws Exception {
        Message message = message("TagH", 0);
        byte[] body = new byte[5 << 20];
        new java.util.Random(1).nextBytes(body);
        message.setBody(body);
        try {
            SendResult result = producer.send(message);
            throw new AssertionError("accepted: " + result);
        } catch (MQBrokerException refused) {
            Cases.equal(13, refused.getResponseCode(), "response code");
        } catch (MQClientException refused) {
            Cases.equal(13, refused.getResponseCode(), "response code");
        }
    }

    private void viewMessage() throws Exception {
        MessageExt found = admin.viewMessage(topic, viewed.getOffsetMsgId());
        Cases.equal("TagB body 39", new String(found.getBody(), UTF_8), "body");
        Cases.equal("TagB", found.getTags(), "tag");
        Cases.equal("key39", found.getKeys(), "keys");
        Cases.equal("39", found.getUserProperty("number"), "property");
        Cases.equal(topic, found.getTopic(), "topic");
        Cases.equal(viewed.getQueueOffset(), found.getQueueOffset(), "queue offset");
    }

    private void consumeAll() throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        Received received = Received.start(consumer, topic, "*");
        received.awaitAll(sent, 120_000);
        Set<String> extra = new HashSet<>(received.byId.keySet());
        extra.removeAll(sent);
        Cases.equal(Set.of(), extra, "messages that nobody sent");
        for (MessageExt message : received.byId.values()) {
            String number = message.getUserProperty("number");
            Cases.equal("key" + number, message.getKeys(), "keys");
            if (!message.getTags().equals("TagG")) {
                String body = message.getTags() + " body " + number;
                Cases.equal(body, new String(message.getBody(), UTF_8), "body");
            }
        }
        consumer.shutdown();
    }

    private void consumeByTag() throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group + "_tags");
        Received received = Received.start(consumer, topic, "TagA || TagF");
        Cases.await(120_000, "20 of TagA and 20 of TagF", () -> received.byId.size() >= 40);
        // Something sent now is delivered after everything before it in its queue.
        Set<String> markers = new HashSet<>();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            markers.add(producer.send(message("TagA", 100), queue).getMsgId());
        }
        sent.addAll(markers);
        received.awaitAll(markers, 120_000);
        for (MessageExt message : received.byId.values()) {
            Cases.check(Set.of("TagA", "TagF").contains(message.getTags()), message.getTags());
        }
        Cases.equal(40 + QUEUES, received.byId.size(), "messages");
        consumer.shutdown();
    }

    private void consumerResumes() throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        Received received = Received.start(consumer, topic, "*");
        // The four markers of the case before, and one more: nothing that was consumed before.
        SendResult result = producer.send(message("TagI", 0));
        sent.add(result.getMsgId());
        received.awaitAll(Set.of(result.getMsgId()), 120_000);
        Cases.await(120_000, "the markers", () -> received.byId.size() >= QUEUES + 1);
        Cases.equal(QUEUES + 1, received.byId.size(), "messages after the restart");
        consumer.shutdown();
    }

    /** Well below the client's own 20 s between rebalances: only the broker's notice does that. */
    private void consumersShare() throws Exception {
        DefaultMQPushConsumer first = cluster.consumer(group + "_share");
        DefaultMQPushConsumer second = cluster.consumer(group + "_share");
        Received.start(first, topic, "*");
        Cases.await(10_000, "one consumer has all", () -> queuesOf(first) == QUEUES);
        Received.start(second, topic, "*");
        Cases.await(15_000, "two consumers have half each", () ->
                queuesOf(first) == QUEUES / 2 && queuesOf(second) == QUEUES / 2);
        second.shutdown();
        Cases.await(10_000, "the one left has all", () -> queuesOf(first) == QUEUES);
        first.shutdown();
    }

    private int queuesOf(DefaultMQPushConsumer consumer) {
        int queues = 0;
        var table = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl();
        for (MessageQueue queue : table.getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                queues++;
            }
        }
        return queues;
    }
}
