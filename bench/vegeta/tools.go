// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package vegeta names the load tool that the benchmark builds, so that go.sum pins it.
package vegeta

import _ "github.com/tsenart/vegeta/v12"
