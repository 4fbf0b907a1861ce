// SPDX-License-Identifier: Apache-2.0

/** An address to listen at. Port 0 lets the system choose. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** What one looks like: `listenAddressOf` reads nothing else. */
export const listenAddressPattern: RegExp = /^(\[[^\]]+\]|[^:]+):\d{1,5}$/;

/** Reads ADDR:PORT, with IPv6 in brackets. The port may be over 65535: whoever asks looks. */
export function listenAddressOf(text: string): ListenAddress {
  const colon = text.lastIndexOf(':');
  return {
    host: text.slice(0, colon).replace(/^\[|\]$/g, ''),
    port: Number(text.slice(colon + 1)),
  };
}
