//! quickstart: a name server and three brokers in one process.
