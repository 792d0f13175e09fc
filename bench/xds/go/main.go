// go-control-plane as a process: its snapshot cache or its linear caches, with the same resources as the other server.
// In: "change NUMBER PORT" on standard input; out: its address, then "changed" after each change.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

func name(n int) string {
	return fmt.Sprintf("namespace-%d/service-%d:8080", n%100, n)
}

func makeCluster(name string) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: &core.ConfigSource{
			ResourceApiVersion:    core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}},
		ConnectTimeout: durationpb.New(time.Second),
	}
}

func makeEndpoints(name string, port uint32) *endpoint.ClusterLoadAssignment {
	address := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address:       "10.0.0.1",
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address}},
		}}}},
	}
}

func makeHost(name string) *route.VirtualHost {
	return &route.VirtualHost{
		Name:    name,
		Domains: []string{name + ".example"},
		Routes: []*route.Route{{
			Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
			Action: &route.Route_Route{Route: &route.RouteAction{
				ClusterSpecifier: &route.RouteAction_Cluster{Cluster: name},
			}},
		}},
	}
}

type oneGroup struct{}

func (oneGroup) ID(*core.Node) string { return "all" }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	count, err := strconv.Atoi(os.Args[2])
	check(err)
	clusters, endpoints := make([]types.Resource, count), make([]types.Resource, count)
	routes := &route.RouteConfiguration{Name: "routes"}
	for n := range count {
		clusters[n] = makeCluster(name(n))
		endpoints[n] = makeEndpoints(name(n), 1)
		routes.VirtualHosts = append(routes.VirtualHosts, makeHost(name(n)))
	}
	var serve cache.Cache
	var change func(n int, port uint32)
	switch os.Args[1] {
	case "snapshot":
		serve, change = snapshots(clusters, endpoints, routes)
	case "linear":
		serve, change = linear(clusters, endpoints, routes)
	default:
		check(fmt.Errorf("snapshot or linear"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr())
	grpcServer := grpc.NewServer(grpc.MaxConcurrentStreams(1_000_000))
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), serve, nil))
	go func() { check(grpcServer.Serve(listener)) }()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		n, err := strconv.Atoi(words[1])
		check(err)
		port, err := strconv.ParseUint(words[2], 10, 32)
		check(err)
		change(n, uint32(port))
		fmt.Println("changed")
	}
}

// snapshots gives one snapshot to all nodes; a change makes a new one, with a new version of the endpoints.
func snapshots(clusters, endpoints []types.Resource, routes types.Resource) (cache.Cache, func(int, uint32)) {
	all := cache.NewSnapshotCache(true, oneGroup{}, nil)
	version := 0
	set := func() {
		version++
		snapshot := &cache.Snapshot{}
		snapshot.Resources[types.Cluster] = cache.NewResources("1", clusters)
		snapshot.Resources[types.Endpoint] = cache.NewResources(strconv.Itoa(version), endpoints)
		snapshot.Resources[types.Route] = cache.NewResources("1", []types.Resource{routes})
		check(all.SetSnapshot(context.Background(), "all", snapshot))
	}
	set()
	return all, func(n int, port uint32) {
		endpoints[n] = makeEndpoints(name(n), port)
		set()
	}
}

// linear gives a linear cache to each type; a change updates one resource.
func linear(clusters, endpoints []types.Resource, routes types.Resource) (cache.Cache, func(int, uint32)) {
	named := func(resources []types.Resource) map[string]types.Resource {
		all := make(map[string]types.Resource, len(resources))
		for _, resource := range resources {
			all[cache.GetResourceName(resource)] = resource
		}
		return all
	}
	byType := map[string]*cache.LinearCache{
		resource.ClusterType:  cache.NewLinearCache(resource.ClusterType, cache.WithInitialResources(named(clusters))),
		resource.EndpointType: cache.NewLinearCache(resource.EndpointType, cache.WithInitialResources(named(endpoints))),
		resource.RouteType:    cache.NewLinearCache(resource.RouteType, cache.WithInitialResources(named([]types.Resource{routes}))),
	}
	mux := &cache.MuxCache{
		Classify:      func(request *cache.Request) string { return request.GetTypeUrl() },
		ClassifyDelta: func(request *cache.DeltaRequest) string { return request.GetTypeUrl() },
		Caches:        map[string]cache.Cache{},
	}
	for typeURL, linear := range byType {
		mux.Caches[typeURL] = linear
	}
	return mux, func(n int, port uint32) {
		check(byType[resource.EndpointType].UpdateResource(name(n), makeEndpoints(name(n), port)))
	}
}
