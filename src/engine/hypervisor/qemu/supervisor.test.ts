import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '#runtime'
import { parseExitRecord } from './run-record.ts'
import { readSerialLog } from './serial-log.ts'
import { SERIAL_BYTES_MAX, startSupervised, wrapProgram } from './supervisor.ts'

let folder: string

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-supervisor-'))
})
after(() => rmSync(folder, { recursive: true }))

/** Runs a shell script under the supervisor until its exit record is there, and gives the exit code. */
async function supervise(name: string, script: string): Promise<number | undefined> {
  const exitPath = join(folder, `${name}.exit`)
  await startSupervised({
    program: '/bin/sh',
    args: ['-c', script],
    runId: name,
    exitPath,
    serialLogPath: join(folder, `${name}.serial`),
    qemuLogPath: join(folder, `${name}.log`),
  })
  const endMs = systemClock.monotonicMs() + 10_000
  while (!existsSync(exitPath) && systemClock.monotonicMs() < endMs) await systemClock.sleep(10)
  const record = parseExitRecord(readFileSync(exitPath, 'utf8'))
  assert.equal(record?.runId, name)
  return record?.exitCode
}

async function serialOf(name: string, isWhole: (bytes: Buffer) => boolean): Promise<Buffer> {
  const path = join(folder, `${name}.serial`)
  const endMs = systemClock.monotonicMs() + 10_000
  for (;;) {
    const { bytes } = await readSerialLog(path, 4 * SERIAL_BYTES_MAX)
    if (isWhole(bytes) || systemClock.monotonicMs() > endMs) return bytes
    await systemClock.sleep(10)
  }
}

describe('startSupervised()', () => {
  it('records how the program ended', async () => {
    assert.equal(await supervise('clean', 'exit 0'), 0)
    assert.equal(await supervise('failed', 'echo words >&2; exit 3'), 3)
    assert.equal(readFileSync(join(folder, 'failed.log'), 'utf8'), 'words\n')
    assert.equal(await supervise('killed', 'kill -9 $$'), 137)
  })

  it('keeps the end of a long serial output and bounds its size', async () => {
    const lines = 700_000 // 8 bytes each: more than five times the bound
    await supervise('long', `seq 1000000 ${1_000_000 + lines - 1}`)
    const last = `${1_000_000 + lines - 1}\n`
    const bytes = await serialOf('long', (read) => read.toString('latin1').endsWith(last))
    assert.ok(bytes.length >= SERIAL_BYTES_MAX && bytes.length <= 2 * SERIAL_BYTES_MAX, `${bytes.length}`)
    const kept = bytes.toString('latin1').split('\n').slice(1, -1).map(Number)
    assert.ok(kept.every((n, index) => n === 1_000_000 + lines - kept.length + index))
    for (const suffix of ['', '.old'])
      assert.ok(statSync(join(folder, `long.serial${suffix}`)).size <= SERIAL_BYTES_MAX)
  })

  it('hands down no environment but the harmless', async () => {
    process.env['HOLDFAST_TEST_SECRET'] = 'hush'
    await supervise('environment', 'env')
    delete process.env['HOLDFAST_TEST_SECRET']
    const text = (await serialOf('environment', (read) => read.includes('PATH='))).toString('utf8')
    assert.match(text, /^PATH=/m)
    assert.doesNotMatch(text, /hush/)
  })

  it('passes arguments as they are, whatever a shell would make of them', async () => {
    const argument = `$(touch ${folder}/pwned); "'\\ *`
    const exitPath = join(folder, 'literal.exit')
    await startSupervised({
      program: 'printf',
      args: ['%s', argument],
      runId: 'literal',
      exitPath,
      serialLogPath: join(folder, 'literal.serial'),
      qemuLogPath: join(folder, 'literal.log'),
    })
    const bytes = await serialOf('literal', (read) => read.length >= argument.length)
    assert.equal(bytes.toString('utf8'), argument)
    assert.equal(existsSync(join(folder, 'pwned')), false)
  })
})

describe('wrapProgram()', () => {
  it('enters the namespace before it drops the user', () => {
    assert.deepEqual(wrapProgram('qemu', { networkNamespace: 'bubble', user: { uid: 7, gid: 8, groups: [9, 10] } }), [
      'nsenter',
      '--net=/run/netns/bubble',
      '--',
      'setpriv',
      '--reuid=7',
      '--regid=8',
      '--groups=9,10',
      '--no-new-privs',
      '--',
      'qemu',
    ])
    assert.deepEqual(wrapProgram('qemu', {}), ['qemu'])
  })

  it('enters a virtual network by its own words, among which is the user', () => {
    const entrance = ['nsenter', '--target=7', '--']
    assert.deepEqual(wrapProgram('qemu', { entrance, user: { uid: 7, gid: 8 } }), [...entrance, 'qemu'])
  })
})

describe('readSerialLog()', () => {
  it('gives the last bytes over both files and says that there are more', async () => {
    const path = join(folder, 'long.serial')
    const { bytes: all } = await readSerialLog(path, 4 * SERIAL_BYTES_MAX)
    const some = await readSerialLog(path, all.length - 3)
    assert.equal(some.truncated, true)
    assert.deepEqual(some.bytes, all.subarray(3))
    assert.deepEqual(await readSerialLog(join(folder, 'absent'), 10), { bytes: Buffer.alloc(0), truncated: false })
  })
})
