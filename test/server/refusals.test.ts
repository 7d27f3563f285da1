/** What the server's commands say when they cannot do what was asked. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Health, JobSummary } from '#server'
import { ServedHome } from './served-home.ts'

const ID = '0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b'

test('Without a server, commands that need one name the home and exit 6', async () => {
  await using home = await ServedHome.make()
  for (const args of [['status'], ['stop'], ['job', 'list'], ['catalog', 'list']]) {
    const { code, exitCode, facts } = await home.fail(...args)
    assert.deepEqual([code, exitCode, facts['home']], ['serve_not_running', 6, home.home])
  }
})

test('Requests that cannot be done say why: unknown jobs, bad inputs, keys that the worker cannot read', async () => {
  await using home = await ServedHome.make()
  await home.run('repo', 'init', 'store')
  await home.serve()
  for (const command of ['show', 'watch', 'cancel']) {
    const { code, exitCode } = await home.fail('job', command, ID)
    assert.deepEqual([code, exitCode], ['job_unknown', 3], command)
  }
  const backup = ['job', 'start', 'backup', '--store', 'store', '--machine', 'm', '--qmp', join(home.folder, 'none')]
  const consistency = await home.fail(...backup, '--consistency', 'app')
  assert.deepEqual([consistency.code, consistency.exitCode], ['job_input_invalid', 2])
  assert.deepEqual(await home.run<JobSummary[]>('job', 'list'), [], 'what is not valid makes no job')

  const unread = await home.fail(...backup, '--passphrase-file', 'nowhere', '--wait')
  assert.deepEqual([unread.code, unread.exitCode], ['job_secret_unreadable', 4])
  const wrong = await home.fail('catalog', 'rebuild', '--store', 'store', '--key-file', 'pass')
  assert.deepEqual([wrong.code, wrong.exitCode], ['key_wrong', 4])
  const failed = await home.run<JobSummary[]>('job', 'list', '--status', 'failed')
  assert.deepEqual(
    failed.map(({ name, key }) => [name, key]),
    [
      ['list-repository', undefined],
      ['backup', 'm'],
    ],
  )
  assert.ok(!JSON.stringify(failed).includes('correct horse'), 'no secret is kept with a job')
  const { pid } = await home.run<Health>('status')
  assert.equal((await home.run<Health>('stop', '--worker')).pid, pid)
  assert.equal((await home.fail('status')).exitCode, 6)
})
