// SPDX-License-Identifier: Apache-2.0
// One HTTP request to a UNIX socket.
import { type IncomingHttpHeaders, request } from 'node:http';

/** What came back. */
export interface UnixAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Asks; `body` is sent when it is given. */
export function askUnix(
  socketPath: string,
  method: string,
  path: string,
  body?: string,
): Promise<UnixAnswer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    asked.on('error', reject);
    asked.end(body);
  });
}
