import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '#runtime'
import { openTls } from './certificates.ts'
import { readOwnCertificate } from './own-certificate.ts'

test('readOwnCertificate() takes a pair that fits and says what is wrong with any other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfc-'))
  try {
    const made = await Promise.all(
      ['a', 'b'].map((name) => openTls(join(folder, name), ['127.0.0.1', 'backup.example.org'], systemClock)),
    )
    const path = (name: string): string => join(folder, name)
    const own = { certificatePath: path('a/server.crt'), keyPath: path('a/server.key'), caPath: path('a/ca.crt') }
    const nowMs = systemClock.nowMs()
    const read = await readOwnCertificate(own, nowMs)
    assert.deepEqual(read, made[0])
    const refuses = (change: Partial<typeof own>, message: RegExp, atMs = nowMs) =>
      assert.rejects(readOwnCertificate({ ...own, ...change }, atMs), { code: 'tls_unusable', message })
    await refuses({ keyPath: path('b/server.key') }, /not the key of/)
    await refuses({ certificatePath: path('none') }, /ENOENT/)
    await writeFile(path('text'), 'This is no PEM.')
    await refuses({ certificatePath: path('text') }, /does not hold what it should/)
    await refuses({ keyPath: path('text') }, /does not hold what it should/)
    await refuses({ caPath: path('text') }, /does not hold what it should/)
    await refuses({}, /it ended at/, nowMs + 400 * 24 * 3_600_000)
    await refuses({}, /it begins at/, nowMs - 400 * 24 * 3_600_000)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
