// Stands where a chat's incoming webhook would: keeps the first message that comes, and ends.
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

const server = createServer(async (request, response) => {
  let body = '';
  for await (const piece of request) body += piece;
  writeFileSync(process.argv[2], JSON.stringify({ method: request.method, path: request.url, type: request.headers['content-type'], body: JSON.parse(body) }));
  response.writeHead(200, { 'content-type': 'text/plain' }).end('ok', () => process.exit(0));
}).listen(0, '127.0.0.1', () => console.log(`listener: on port ${server.address().port}`));
