// SPDX-License-Identifier: Apache-2.0
import t from 'tap';
import { importRefusal, includeRefusal, layerOf, violations } from '../../scripts/layers.ts';
import { root } from '../../scripts/steps.ts';

t.test('the project keeps to its layers', async (t) => {
  t.same(violations(root), []);
});

t.test('the longest folder above a file is its layer', async (t) => {
  t.equal(layerOf('src/xds/server.ts'), 'src/xds');
  t.equal(layerOf('ztunnel/main.ts'), 'ztunnel');
  t.equal(layerOf('elsewhere/a.ts'), undefined);
});

const refused: readonly [file: string, specifier: string][] = [
  ['src/lib/error.ts', '../mesh/snapshot.ts'],
  ['src/mesh/snapshot.ts', 'node:fs'],
  ['src/xds/server.ts', '../ca/wire.ts'],
  ['src/cni/agent.ts', '../control/main.ts'],
  ['src/control/main.ts', '../cli/main.ts'],
  ['src/lab/main.ts', '../control/main.ts'],
  ['src/control/server.ts', './main.ts'],
  ['ztunnel/main.ts', '../src/xds/server.ts'],
  ['ztunnel/main.ts', '../src/control/main.ts'],
  ['ztunnel/main.ts', 'yaml'],
  ['src/lib/log.ts', '@grpc/grpc-js'],
  ['elsewhere/a.ts', './b.ts'],
];
for (const [file, specifier] of refused) {
  t.test(`${file} may not import ${specifier}`, async (t) => {
    t.type(importRefusal(file, specifier), 'string');
  });
}

const allowed: readonly [file: string, specifier: string][] = [
  ['src/xds/server.ts', './wire.ts'],
  ['src/xds/server.ts', '../mesh/snapshot.ts'],
  ['src/xds/wire.ts', '@bufbuild/protobuf/wire'],
  ['src/mesh/snapshot.ts', 'node:crypto'],
  ['src/cli/main.ts', '../../ztunnel/main.ts'],
  ['ztunnel/pods.ts', '../native/index.ts'],
  ['ztunnel/certs.ts', '../src/ca/client.ts'],
  ['src/cni/main.ts', 'node:http'],
];
for (const [file, specifier] of allowed) {
  t.test(`${file} may import ${specifier}`, async (t) => {
    t.equal(importRefusal(file, specifier), undefined);
  });
}

const refusedIncludes: readonly [file: string, header: string][] = [
  ['base/status.h', 'io/loop.h'],
  ['tls/session.cc', 'io/loop.h'],
  ['tls/session.cc', 'sys/socket.h'],
  ['http/h2.cc', 'base/clock.h'],
  ['http/h2.cc', 'thread'],
  ['http/h2.cc', 'openssl/ssl.h'],
  ['io/loop.cc', 'tls/session.h'],
  ['proxy/tunnel.cc', 'binding/engine.h'],
  ['proxy/tunnel.cc', 'napi.h'],
  ['proxy/tunnel.cc', 'openssl/ssl.h'],
  ['elsewhere/a.cc', 'string'],
];
for (const [file, header] of refusedIncludes) {
  t.test(`${file} may not include ${header}`, async (t) => {
    t.type(includeRefusal(file, header), 'string');
  });
}

t.test('what the C++ table names may be included', async (t) => {
  t.equal(includeRefusal('proxy/tunnel.cc', 'tls/session.h'), undefined);
  t.equal(includeRefusal('tls/session.cc', 'openssl/ssl.h'), undefined);
  t.equal(includeRefusal('io/sys.cc', 'sys/socket.h'), undefined);
  t.equal(includeRefusal('binding/addon.cc', 'napi.h'), undefined);
  t.equal(includeRefusal('proxy/tunnel.cc', 'proxy/pod.h'), undefined);
});

t.test('static, type-only, re-exported and dynamic imports are all found', async (t) => {
  const folder = t.testdir({
    src: {
      lib: {
        'a.ts': "import { b } from '../mesh/b.ts';\n",
        'c.ts': "import type { b } from '../spiffe/b.ts';\n",
        'd.ts': "export {\n  b,\n} from '../ca/b.ts';\n",
        'e.ts': "const b = await import('../xds/b.ts');\n",
        'f.ts': "import 'yaml';\n",
      },
    },
    native: { base: { 'a.h': '#include "io/loop.h"\n' } },
  });
  t.same(violations(folder), [
    'src/lib/a.ts may not import src/mesh/b.ts',
    'src/lib/c.ts may not import src/spiffe/b.ts',
    'src/lib/d.ts may not import src/ca/b.ts',
    'src/lib/e.ts may not import src/xds/b.ts',
    'src/lib/f.ts may not use the package yaml',
    'native/base/a.h may not include io/loop.h',
  ]);
});
