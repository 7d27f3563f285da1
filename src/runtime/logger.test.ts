import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLogger } from './logger.ts'

test('createLogger() writes one JSON line per event before it returns, and no secret', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-log-'))
  const path = join(folder, 'log')
  const fd = openSync(path, 'w')
  const logger = createLogger('worker', fd)
  logger.info({ job: 'j-1', passphrase: 'hunter2' }, 'a task began')
  logger.warn({ repository: { masterKey: 'hunter2' } }, 'a lease was lost')
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  closeSync(fd)
  await rm(folder, { recursive: true })
  const read = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    read.map(({ name, msg, job }) => [name, msg, job]),
    [
      ['worker', 'a task began', 'j-1'],
      ['worker', 'a lease was lost', undefined],
    ],
  )
  assert.doesNotMatch(lines.join(''), /hunter2/)
})
