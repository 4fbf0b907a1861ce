// SPDX-License-Identifier: Apache-2.0
// A program for pods: moves many bytes each way over one connection and keeps the half-close.
//
//   bulk.ts serve PORT             reads to the end, then answers a line {received, sha256} and as
//                                  many bytes of its own, then {sha256}'s 64 digits
//   bulk.ts send HOST PORT BYTES   sends BYTES, ends its side, reads all, prints what it found
import { createCipheriv, createHash, type Hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { MeshError } from '../lib/error.ts';

const pieceBytes: number = 1 << 20;

/** What the sender prints: both digests of each direction, and whether the order was kept. */
export interface BulkResult {
  readonly sent: number;
  readonly received: number;
  /** The server got just what was sent. */
  readonly there: boolean;
  /** The client got just what the server sent. */
  readonly back: boolean;
  /** The server's answer began only after our end of stream had reached it. */
  readonly halfClose: boolean;
}

// A cipher's key stream: incompressible, different in each run, and faster than random bytes.
async function sendRandom(socket: Socket, size: number, digest: Hash): Promise<void> {
  const stream = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const zeros = Buffer.alloc(pieceBytes);
  for (let left = size; left > 0; left -= pieceBytes) {
    const piece = stream.update(zeros.subarray(0, Math.min(left, pieceBytes)));
    digest.update(piece);
    if (!socket.write(piece)) {
      await once(socket, 'drain');
    }
  }
}

async function answer(socket: Socket): Promise<void> {
  const digest = createHash('sha256');
  let received = 0;
  for await (const piece of socket.iterator({ destroyOnReturn: false })) {
    digest.update(piece);
    received += piece.length;
  }
  socket.write(`${JSON.stringify({ received, sha256: digest.digest('hex') })}\n`);
  const own = createHash('sha256');
  await sendRandom(socket, received, own);
  socket.end(own.digest('hex'));
}

function serve(port: number): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    answer(socket).catch(() => socket.destroy());
  });
  server.listen(port, '::');
}

/** Takes the server's answer apart as it comes, and keeps none of its bulk. */
class AnswerReader {
  readonly #size: number;
  readonly #digest: Hash = createHash('sha256');
  #head: Buffer | undefined;
  #small: Buffer = Buffer.alloc(0);
  #received = 0;

  constructor(size: number) {
    this.#size = size;
  }

  take(piece: Buffer): void {
    if (this.#head === undefined) {
      const all = Buffer.concat([this.#small, piece]);
      const end = all.indexOf(0x0a);
      this.#head = end < 0 ? undefined : all.subarray(0, end);
      this.#small = end < 0 ? all : Buffer.alloc(0);
      if (end >= 0) {
        this.take(all.subarray(end + 1));
      }
      return;
    }
    const body = piece.subarray(0, this.#size - this.#received);
    this.#digest.update(body);
    this.#received += body.length;
    this.#small = Buffer.concat([this.#small, piece.subarray(body.length)]);
  }

  result(sentSha256: string): Pick<BulkResult, 'received' | 'there' | 'back'> {
    const { sha256 } = JSON.parse(String(this.#head ?? '{}')) as { sha256?: string };
    const back = this.#digest.digest('hex') === this.#small.toString();
    return { received: this.#received, there: sha256 === sentSha256, back };
  }
}

async function send(host: string, port: number, size: number): Promise<BulkResult> {
  const socket = connect({ host, port, allowHalfOpen: true });
  await once(socket, 'connect');
  const reader = new AnswerReader(size);
  let ended = false;
  let halfClose = true;
  socket.on('data', (piece: Buffer) => {
    halfClose &&= ended;
    reader.take(piece);
  });
  const over = once(socket, 'end');
  const own = createHash('sha256');
  await sendRandom(socket, size, own);
  ended = true;
  socket.end();
  await over;
  return { sent: size, ...reader.result(own.digest('hex')), halfClose };
}

async function main(args: readonly string[]): Promise<void> {
  const [verb, first = '', port, size] = args;
  if (verb === 'serve') {
    serve(Number(first));
    return;
  }
  const result = await send(first, Number(port), Number(size));
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${MeshError.from(error).message}\n`);
    process.exit(1);
  }
}
