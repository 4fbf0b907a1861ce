// SPDX-License-Identifier: Apache-2.0

/** Where capture in the kernel is pinned, for the agent that loads it and the proxy that reads it. */
export const defaultPins = '/sys/fs/bpf/weft';
