// The official Go client against a running cluster: `suite NAME_SERVERS`, one line a case.
package main

import (
	"os"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	rlog.SetLogLevel("warn")
	nameServers = primitive.NamesrvAddr{os.Args[1]}
	run()
	if failed > 0 {
		os.Exit(1)
	}
}

func run() {
	// What happens between the cases is none, unless it fails.
	defer func() {
		if problem := recover(); problem != nil {
			runCase("set-up", func() { panic(problem) })
		}
	}()
	operator, problem := admin.NewAdmin(
		admin.WithResolver(primitive.NewPassthroughResolver(nameServers)))
	succeeded(problem)
	m := &messaging{topic: "OfficialGo", admin: operator, sends: newProducer()}
	r := &retries{messaging: m, topic: "OfficialGoRetried"}
	r.start()
	m.run()
	(&kinds{messaging: m, topic: "OfficialGoKinds"}).run()
	r.run()
	(&failover{messaging: m, topic: "OfficialGoFailedOver"}).run()
}
