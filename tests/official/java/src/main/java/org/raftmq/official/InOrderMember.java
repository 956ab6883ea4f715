package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * {@code InOrderMember <name servers> <topic> <queues>}: one process of a group that consumes in
 * order, which says {@code GOT time queue number} of each message; or, with {@code <queues>} above
 * zero, the producer that numbers the messages of each queue. The producer ends at a line on
 * standard input and says {@code END queue count} of each queue.
 */
final class InOrderMember {
    public static void main(String[] arguments) throws Exception {
        Cluster cluster = new Cluster(arguments[0]);
        int queues = Integer.parseInt(arguments[2]);
        if (queues > 0) {
            produce(cluster.producer("InOrderProducer"), arguments[1], queues);
        } else {
            consume(cluster.consumer("InOrderConsumer"), arguments[1]);
        }
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static void consume(DefaultMQPushConsumer consumer, String topic) throws Exception {
        // One address, so the process's number tells the members apart, and sorts them.
        consumer.setInstanceName(Long.toString(ProcessHandle.current().pid()));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(message -> say("GOT " + System.currentTimeMillis() + " "
                    + name(context.getMessageQueue()) + " "
                    + new String(message.getBody(), UTF_8)));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        say("STARTED");
        Thread.currentThread().join();
    }

    private static String name(MessageQueue queue) {
        return queue.getBrokerName() + "/" + queue.getQueueId();
    }

    private static void produce(DefaultMQProducer producer, String topic, int count)
            throws Exception {
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
        Cases.equal(count, queues.size(), "queues");
        Map<MessageQueue, Integer> next = new HashMap<>();
        while (System.in.available() == 0) {
            for (MessageQueue queue : queues) {
                send(producer, queue, next.merge(queue, 1, Integer::sum) - 1);
            }
            Thread.sleep(20);
        }
        next.forEach((queue, sent) -> say("END " + name(queue) + " " + sent));
        say("DONE");
        Runtime.getRuntime().halt(0);
    }

    /** The next number only after this one is stored: else the producer would change the order. */
    private static void send(DefaultMQProducer producer, MessageQueue queue, int number)
            throws InterruptedException {
        Message message =
                new Message(queue.getTopic(), Integer.toString(number).getBytes(UTF_8));
        for (;;) {
            try {
                var result = producer.send(message, queue);
                Cases.equal(SendStatus.SEND_OK, result.getSendStatus(), "status");
                return;
            } catch (InterruptedException interrupted) {
                throw interrupted;
            } catch (Exception problem) {
                problem.printStackTrace();
                Thread.sleep(50);
            }
        }
    }
}
