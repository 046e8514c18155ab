//go:build tools

// Package influxd pins what InfluxDB's server is built from; ops/services/influxdb.py builds it.
package influxd

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	_ "github.com/influxdata/pkg-config"
)
