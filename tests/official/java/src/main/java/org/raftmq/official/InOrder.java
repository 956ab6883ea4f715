package org.raftmq.official;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * What consumers in order got, queue by queue. Several consumers of a group share one: a queue that
 * passes from one to the other must go on where it was, or repeat, but never skip.
 */
final class InOrder {
    /** Offset of the last message of each queue. */
    private final Map<MessageQueue, Long> last = new HashMap<>();
    private final Map<MessageQueue, Object> busy = new ConcurrentHashMap<>();
    final Set<String> ids = ConcurrentHashMap.newKeySet();
    final List<String> mistakes = java.util.Collections.synchronizedList(new java.util.ArrayList<>());
    final AtomicInteger suspended = new AtomicInteger();
    private volatile String doomed = "";
    /** How many messages are to be refused the first time. */
    private final AtomicInteger refuse;

    InOrder(int refuse) {
        this.refuse = new AtomicInteger(refuse);
    }

    /** A message that is refused every time. Its queue goes on behind it once it is given up. */
    void refuseAlways(String id) {
        doomed = id;
    }

    void start(DefaultMQPushConsumer consumer, String topic) throws Exception {
        consumer.subscribe(topic, "*");
        consumer.setSuspendCurrentQueueTimeMillis(10);
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                consume(consumer, messages.get(0), context));
        consumer.start();
    }

    private ConsumeOrderlyStatus consume(
            DefaultMQPushConsumer consumer, MessageExt message, ConsumeOrderlyContext context) {
        MessageQueue queue = context.getMessageQueue();
        Object other = busy.putIfAbsent(queue, consumer);
        if (other != null) {
            mistakes.add(queue + " is with two consumers at once");
        }
        try {
            if (message.getMsgId().equals(doomed)) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            if (refuse.getAndDecrement() > 0) {
                suspended.incrementAndGet();
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            take(queue, message.getQueueOffset());
            ids.add(message.getMsgId());
            return ConsumeOrderlyStatus.SUCCESS;
        } finally {
            if (other == null) {
                busy.remove(queue);
            }
        }
    }

    private void take(MessageQueue queue, long offset) {
        synchronized (last) {
            long before = last.getOrDefault(queue, -1L);
            if (offset > before + 1) {
                mistakes.add(queue + " skips from " + before + " to " + offset);
            }
            last.put(queue, Math.max(before, offset));
        }
    }
}
