package org.raftmq.official;

/** {@code Main <name servers>}: runs every case in order; the exit code is 1 if any failed. */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        String suffix = Long.toString(System.currentTimeMillis(), 36);
        Cluster cluster = new Cluster(arguments[0]);
        Cases cases = new Cases();
        try {
            new MessagingSuite(cluster, suffix).run(cases);
            new ConsumerSuite(cluster, suffix).run(cases);
            new RetrySuite(cluster, suffix).run(cases);
            new AdminSuite(cluster, suffix).run(cases);
            new OperatorSuite(cluster, suffix).run(cases);
            new FailoverSuite(cluster, suffix).run(cases);
        } catch (Throwable problem) {
            cases.run("set-up", () -> {
                throw new IllegalStateException(problem);
            });
        }
        System.out.flush();
        // Client threads of a failed case must not keep the program alive.
        Runtime.getRuntime().halt(cases.failed() == 0 ? 0 : 1);
    }
}
