//go:build tools

// Package influxd pins what InfluxDB's server is built from; see build in ops/services/influxdb.py.
package influxd

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	_ "github.com/influxdata/pkg-config"
)
