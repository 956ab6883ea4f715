package org.raftmq.official;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.List;

/**
 * {@code FailoverTable <name servers>}: producers and consumers at work while the runner strikes.
 * One side has the client's defaults, the other the settings that README recommends.
 *
 * <p>It answers {@code mark} with {@code MARKED} when a round begins, {@code report} with a line
 * {@code ROUND} a side when it ends, and {@code end} with a line {@code END} a side.
 */
final class FailoverTable {
    public static void main(String[] arguments) throws Exception {
        List<FailoverSide> sides = List.of(
                new FailoverSide(arguments[0], "default", false),
                new FailoverSide(arguments[0], "tuned", true));
        for (FailoverSide side : sides) {
            side.start();
        }
        say("READY");
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String command; (command = commands.readLine()) != null; ) {
            for (FailoverSide side : sides) {
                switch (command) {
                    case "mark" -> side.mark();
                    case "report" -> say("ROUND " + side.report());
                    case "end" -> say("END " + side.end());
                    default -> throw new IllegalArgumentException(command);
                }
            }
            say(command.equals("mark") ? "MARKED" : "DONE");
        }
        Runtime.getRuntime().halt(0);
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
