package org.raftmq.official;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** What a push consumer got, by unique message id. */
final class Received implements MessageListenerConcurrently {
    final Map<String, MessageExt> byId = new ConcurrentHashMap<>();
    final AtomicInteger deliveries = new AtomicInteger();

    static Received start(DefaultMQPushConsumer consumer, String topic, String tags)
            throws Exception {
        Received received = new Received();
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener(received);
        consumer.start();
        return received;
    }

    @Override
    public ConsumeConcurrentlyStatus consumeMessage(
            List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        for (MessageExt message : messages) {
            byId.put(message.getMsgId(), message);
            deliveries.incrementAndGet();
        }
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    void awaitAll(Set<String> ids, long limitMs) throws Exception {
        Cases.await(limitMs, "all " + ids.size() + " acknowledged messages consumed", () ->
                byId.size() >= ids.size() && byId.keySet().containsAll(ids));
    }
}
