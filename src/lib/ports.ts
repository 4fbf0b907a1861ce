// SPDX-License-Identifier: Apache-2.0

/** The ports of the mesh, as in Istio's ambient mode. */
export const ports = {
  outbound: 15001,
  inboundPlaintext: 15006,
  hbone: 15008,
  control: 15012,
  admin: 15000,
  agentMetrics: 15014,
  metrics: 15020,
  readiness: 15021,
  dns: 15053,
} as const;

/** The mark on every socket that the proxy opens in a pod, as in Istio's ambient mode. */
export const proxyMark = 0x539;
