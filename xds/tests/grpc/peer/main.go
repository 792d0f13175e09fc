// gRPC's own xDS client, and a backend to call.
//
//	peer backend NAME     serves health checks of the service NAME; prints its address
//	peer client TARGET    for each line NAME on standard input checks that service once and prints the outcome
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	switch os.Args[1] {
	case "backend":
		backend(os.Args[2])
	case "client":
		client(os.Args[2])
	}
}

func backend(name string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	service := health.NewServer()
	service.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	fmt.Println(listener.Addr())
	check(server.Serve(listener))
}

func client(target string) {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		request := &grpc_health_v1.HealthCheckRequest{Service: lines.Text()}
		answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, request)
		cancel()
		if err != nil {
			fmt.Println(status.Code(err))
		} else {
			fmt.Println(answer.GetStatus())
		}
	}
}
