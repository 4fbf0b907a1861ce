// SPDX-License-Identifier: Apache-2.0
// The layer table: which folder may use which, in TypeScript and in C++.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** What the files of one TypeScript folder may import besides each other. */
export interface Layer {
  /** Folders ("src/lib/") and single files ("src/xds/wire.ts"). */
  readonly uses: readonly string[];
  /** Packages by name; "node:" stands for every built-in module. */
  readonly packages: readonly string[];
}

const wire = ['@bufbuild/protobuf', '@grpc/grpc-js'];

/** The TypeScript folders, bottom to top. */
export const layers: Readonly<Record<string, Layer>> = {
  'src/lib': { uses: ['package.json'], packages: ['node:', 'pino', '@bufbuild/protobuf'] },
  // Without I/O of any kind: hashing is the one built-in they need.
  'src/mesh': { uses: ['src/lib/'], packages: ['node:crypto'] },
  'src/spiffe': { uses: ['src/lib/'], packages: ['node:crypto'] },
  'src/ca': {
    uses: ['src/lib/', 'src/mesh/', 'src/spiffe/'],
    packages: ['node:', ...wire, '@peculiar/x509', 'reflect-metadata', 'jose', 'zod'],
  },
  'src/registry': {
    uses: ['src/lib/', 'src/mesh/', 'src/spiffe/'],
    packages: ['node:', 'yaml', 'zod'],
  },
  'src/xds': { uses: ['src/lib/', 'src/mesh/', 'src/spiffe/'], packages: ['node:', ...wire] },
  'src/control': {
    uses: ['src/lib/', 'src/mesh/', 'src/spiffe/', 'src/ca/', 'src/registry/', 'src/xds/'],
    packages: ['node:', ...wire, 'commander', 'jose', 'pino', 'zod'],
  },
  'src/lab': {
    uses: ['src/lib/', 'src/mesh/', 'src/spiffe/', 'src/ca/', 'src/registry/', 'src/xds/'],
    packages: ['node:', ...wire, 'commander', 'yaml', 'zod'],
  },
  'src/bench': {
    uses: ['src/lib/', 'src/spiffe/', 'src/ca/', 'src/lab/', 'src/xds/wire.ts'],
    packages: ['node:', ...wire, 'commander', 'vega', 'vega-lite', 'yaml', 'zod'],
  },
  'src/cni': {
    uses: [
      ...['src/lib/', 'native/index.ts', 'native/capture.ts'],
      ...['native/kernel-probe.ts', 'native/pod-socket.ts'],
    ],
    packages: ['node:', '@bufbuild/protobuf', 'commander', 'pino', 'zod'],
  },
  // The launcher, and nobody else, starts each process's main.
  'src/cli': {
    uses: [
      ...[
        'src/lib/',
        'native/index.ts',
        'native/capture.ts',
        'native/pod-socket.ts',
        'src/control/main.ts',
        'src/control/token.ts',
        'src/control/ca.ts',
        'src/control/command-socket.ts',
        'src/registry/check-folder.ts',
        'src/registry/problem.ts',
      ],
      // What an agent tries at its start, check tries as well.
      ...['src/cni/capture-probe.ts', 'src/cni/guard-probe.ts', 'src/cni/settings.ts'],
      'src/cni/leave.ts',
      ...['src/cni/main.ts', 'src/lab/main.ts', 'src/bench/main.ts', 'ztunnel/main.ts'],
    ],
    packages: ['node:', 'commander'],
  },
  ztunnel: {
    uses: [
      ...['src/lib/', 'src/mesh/', 'src/spiffe/', 'native/index.ts', 'native/gen/'],
      'native/pod-socket.ts',
      ...['src/xds/wire.ts', 'src/xds/client.ts', 'src/ca/wire.ts', 'src/ca/client.ts'],
    ],
    packages: ['node:', ...wire, 'commander', 'dns-packet', 'jose', 'pino', 'prom-client', 'zod'],
  },
  native: { uses: ['src/lib/'], packages: ['node:', '@bufbuild/protobuf'] },
  scripts: { uses: ['src/lib/', 'native/linker.ts'], packages: ['node:', 'esbuild', 'tap-parser'] },
};

/** What the files of one C++ folder may include. */
export interface NativeLayer {
  /** Our folders and single headers, besides the layer itself. */
  readonly uses: readonly string[];
  /** First parts of library headers. */
  readonly libraries: readonly string[];
  /** True for codecs: bytes in, bytes out, the time is passed in. */
  readonly sansIo?: boolean;
}

/** The C++ folders under native/, bottom to top. */
export const nativeLayers: Readonly<Record<string, NativeLayer>> = {
  base: { uses: [], libraries: [] },
  crypto: { uses: ['base/'], libraries: ['openssl/'], sansIo: true },
  tls: { uses: ['base/', 'crypto/'], libraries: ['openssl/'], sansIo: true },
  http: { uses: ['base/'], libraries: ['nghttp2/'], sansIo: true },
  io: { uses: ['base/'], libraries: [] },
  proxy: {
    uses: ['base/', 'io/', 'tls/', 'http/', 'crypto/batch.h', 'crypto/mode.h'],
    libraries: ['protozero/'],
  },
  kernel: { uses: ['base/', 'io/'], libraries: ['bpf/'] },
  binding: {
    uses: ['base/', 'io/', 'crypto/', 'tls/', 'http/', 'proxy/', 'kernel/'],
    libraries: ['napi.h', 'openssl/', 'nghttp2/', 'bpf/'],
  },
};

/** Library headers that are somebody's; all others are the language's or the system's. */
const libraryHeaders = [
  'napi.h',
  'node_api.h',
  'openssl/',
  'nghttp2/',
  'bpf/',
  'protozero/',
  'uv.h',
];
/** Sockets, threads and clocks: refused in codecs. */
const worldHeaders = [
  ...['sys/socket.h', 'sys/epoll.h', 'unistd.h', 'thread', 'mutex', 'condition_variable'],
  ...['future', 'chrono', 'ctime', 'time.h', 'base/clock.h', 'base/unique_fd.h'],
];

const staticImport = /^(?:import|export)\s+(?:[\w$*{][\w\s$*{},]*\sfrom\s+)?['"]([^'"]+)['"]/gm;
const dynamicImport = /\bimport\(\s*['"]([^'"]+)['"]/g;
const include = /^#include [<"]([^>"]+)[>"]/gm;

/** The layer that owns `path`: the longest key of `layers` that is a folder above it. */
export function layerOf(path: string): string | undefined {
  return Object.keys(layers)
    .filter((layer) => path.startsWith(`${layer}/`))
    .sort((a, b) => b.length - a.length)[0];
}

const matches = (allowed: readonly string[], target: string): boolean =>
  allowed.some((entry) => (/[/:]$/.test(entry) ? target.startsWith(entry) : target === entry));

/** "@scope/name/sub" and "name/sub" to the package's name; built-ins stay as they are. */
function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}

/** Why `file` (relative to the root) may not import `specifier`; undefined when it may. */
export function importRefusal(file: string, specifier: string): string | undefined {
  const from = layerOf(file);
  if (from === undefined) {
    return `${file} is in no layer`;
  }
  const { uses, packages } = layers[from] ?? { uses: [], packages: [] };
  if (!specifier.startsWith('.')) {
    const name = specifier.startsWith('node:') ? specifier : packageOf(specifier);
    return matches(packages, name) ? undefined : `${file} may not use the package ${name}`;
  }
  const target = normalize(join(dirname(file), specifier));
  const isMain = target.endsWith('/main.ts') && file !== 'src/cli/main.ts';
  const ok = !isMain && (layerOf(target) === from || matches(uses, target));
  return ok ? undefined : `${file} may not import ${target}`;
}

/** Why `file` (relative to native/) may not include `header`; undefined when it may. */
export function includeRefusal(file: string, header: string): string | undefined {
  const from = dirname(file).split('/')[0] ?? '';
  const layer = nativeLayers[from];
  if (layer === undefined) {
    return `native/${file} is in no layer`;
  }
  const refused = `native/${file} may not include ${header}`;
  if (layer.sansIo === true && matches(worldHeaders, header)) {
    return refused;
  }
  if (matches(libraryHeaders, header)) {
    return matches(layer.libraries, header) ? undefined : refused;
  }
  const owner = header.split('/')[0] ?? '';
  const isOurs = header.includes('/') && owner in nativeLayers;
  return !isOurs || owner === from || matches(layer.uses, header) ? undefined : refused;
}

function specifiersOf(text: string): string[] {
  return [...text.matchAll(staticImport), ...text.matchAll(dynamicImport)].map(
    ([, specifier]) => specifier ?? '',
  );
}

/** Every import and include below `root` that breaks the tables; empty when they hold. */
export function violations(root: string): string[] {
  const found: string[] = [];
  const note = (refusal: string | undefined): void => {
    if (refusal !== undefined) {
      found.push(refusal);
    }
  };
  for (const file of globSync('{src,ztunnel,native,scripts}/**/*.ts', { cwd: root }).sort()) {
    if (!file.includes('/gen/')) {
      for (const specifier of specifiersOf(readFileSync(join(root, file), 'utf8'))) {
        note(importRefusal(file, specifier));
      }
    }
  }
  for (const file of globSync('**/*.{cc,h}', { cwd: join(root, 'native') }).sort()) {
    for (const [, header] of readFileSync(join(root, 'native', file), 'utf8').matchAll(include)) {
      note(includeRefusal(file, header ?? ''));
    }
  }
  return [...new Set(found)];
}
