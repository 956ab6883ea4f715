package org.raftmq.official;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.function.BooleanSupplier;

/**
 * The protocol between a suite and its runner: one line a case on standard output.
 *
 * <p>{@code PASS name}, {@code FAIL name reason}, {@code INFO key=value}, and {@code KILL-LEADER},
 * after which the suite waits for one line on standard input.
 */
final class Cases {
    interface Case {
        void run() throws Exception;
    }

    private static final PrintStream OUT = System.out;
    private static final BufferedReader IN = new BufferedReader(new InputStreamReader(System.in));
    private int failed;

    void run(String name, Case test) {
        try {
            test.run();
            OUT.println("PASS " + name);
        } catch (Throwable problem) {
            failed++;
            OUT.println("FAIL " + name + " " + String.valueOf(problem).replace('\n', ' '));
            problem.printStackTrace();
        }
        OUT.flush();
    }

    int failed() {
        return failed;
    }

    static void info(String key, Object value) {
        OUT.println("INFO " + key + "=" + value);
        OUT.flush();
    }

    /** Asks the runner to kill the leader, and returns once it is dead. */
    static void killLeader() throws Exception {
        OUT.println("KILL-LEADER");
        OUT.flush();
        if (IN.readLine() == null) {
            throw new IllegalStateException("the runner went away");
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object expected, Object found, String what) {
        if (!expected.equals(found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }

    /** Waits for a condition that another thread of the client brings about. */
    static void await(long limitMs, String what, BooleanSupplier holds) throws Exception {
        long end = System.nanoTime() + limitMs * 1_000_000L;
        while (!holds.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("after " + limitMs + " ms still not: " + what);
            }
            Thread.sleep(5);
        }
    }
}
