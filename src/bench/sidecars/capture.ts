// SPDX-License-Identifier: Apache-2.0
// How a pod's connections come to its sidecar.

/** Where captured connections are redirected to. */
export const sidecarPorts = { outbound: 15001, inbound: 15006 } as const;

/** The mark on sockets that a sidecar opens, where it can set one. */
export const sidecarMark = 0x539;

/** By what the rules know a sidecar's own sockets, and let them pass: the mark, or its user. */
export type Exempt = 'mark' | { readonly user: string };

/** The nftables rules that capture a pod for its sidecar. May be loaded again. */
export function captureRules(exempt: Exempt): string {
  const own = exempt === 'mark' ? `mark ${sidecarMark}` : `skuid ${exempt.user}`;
  return `table inet sidecar
delete table inet sidecar
table inet sidecar {
  chain outbound {
    type nat hook output priority -100; policy accept;
    meta ${own} accept
    fib daddr type local accept
    meta l4proto tcp redirect to :${sidecarPorts.outbound}
  }
  chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "lo" accept
    meta l4proto tcp redirect to :${sidecarPorts.inbound}
  }
}
`;
}
