package org.raftmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * {@code Mqadmin <name servers>}: runs mqadmin once for each line of standard input, whose words are
 * separated by tabs, and says {@code END} behind what it printed. One process for all: the runtime
 * takes longer to start than most commands take. {@code CONSUME group topic} starts a consumer.
 */
public final class Mqadmin {
    public static void main(String[] arguments) throws Exception {
        System.setProperty("rocketmq.namesrv.addr", arguments[0]);
        var input = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split("\t");
            if (words[0].equals("CONSUME")) {
                consume(new Cluster(arguments[0]), words[1], words[2]);
            } else {
                MQAdminStartup.main0(words, null);
            }
            // Some commands do not end their last line.
            System.out.printf("%nEND%n");
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** Starts a consumer for the commands that ask one; it goes on as long as the process does. */
    private static void consume(Cluster cluster, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group);
        Received.start(consumer, topic, "*");
    }
}
