import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { secretsOf, withoutSecrets } from './secrets.ts'
import { tarOf } from './tar.ts'

test('tarOf() makes what tar(1) reads back, whatever the length', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hft-'))
  try {
    const files = [0, 1, 511, 512, 513, 5000].map((length) => ({
      name: `a/${length}.bin`,
      bytes: Buffer.from(Array.from({ length }, (_, i) => (i * 7 + length) & 0xff)),
    }))
    await writeFile(join(folder, 'x.tar'), Buffer.concat(tarOf(files, 1_700_000_000)))
    execFileSync('tar', ['-xf', 'x.tar'], { cwd: folder })
    for (const { name, bytes } of files) assert.deepEqual(await readFile(join(folder, name)), bytes, name)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('withoutSecrets() takes out every word of every key file, and what looks like a token, a signature or a key', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hft-'))
  try {
    for (const name of ['keys', 'tls']) await mkdir(join(folder, name))
    const secret = 'hf~dGhpcyBpcyBhIHNlY3JldCBvZiBzb21lYm9keSE'
    await writeFile(join(folder, 'keys/a.secret'), `${secret}\n`)
    await writeFile(join(folder, 'keys/jwk.json'), '{"kty":"RSA","d":"cHJpdmF0ZWV4cG9uZW50"}')
    await writeFile(
      join(folder, 'tls/server.key'),
      '-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n',
    )
    await writeFile(join(folder, 'tls/ca.crt'), 'PUBLICPUBLICPUBLIC')
    const secrets = await secretsOf(folder, {
      HOLDFAST_PASSPHRASE: 'short!',
      AWS_SECRET_ACCESS_KEY: 'k',
      PATH: '/usr/bin',
    })
    const text = [
      `a ${secret} b`,
      'cHJpdmF0ZWV4cG9uZW50',
      'MIGHAgEAMBMGByqGSM49',
      'short!',
      'https://h/p?a=1&sig=abc%2Fdef&b=2',
      'Bearer eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiJhYmMifQ.c2lnbmF0dXJlLW9mLWl0',
      'https://user:pass@host/x',
      'PUBLICPUBLICPUBLIC /usr/bin',
    ].join('\n')
    assert.equal(
      withoutSecrets(text, secrets),
      [
        'a [hidden] b',
        '[hidden]',
        '[hidden]',
        '[hidden]',
        'https://h/p?a=1&sig=[hidden]&b=2',
        'Bearer [hidden]',
        'https://[hidden]@host/x',
        'PUBLICPUBLICPUBLIC /usr/bin',
      ].join('\n'),
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
