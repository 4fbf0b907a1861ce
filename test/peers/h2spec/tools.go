// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package h2spec names the HTTP/2 conformance tool that the tests build, so that go.sum pins it.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"
