import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type ExitRecord, judge, parseExitRecord, type RunRecord, type Verdict } from './run-record.ts'

const BOOT = 'boot-1'
const PROCESS = { bootId: 'b1', pid: 4711, startTicks: '99' }
const STARTING: RunRecord = { schema: 1, runId: 'r1', phase: 'starting', bootId: BOOT, startedAtMs: 1 }
const RUNNING: RunRecord = { ...STARTING, phase: 'running', process: PROCESS, accelerator: 'tcg', notes: [] }
const exited = (exitCode: number, runId = 'r1'): ExitRecord => ({ runId, exitCode, endedAtMs: 5_000 })

function shown(verdict: Verdict): string {
  return verdict.power === 'running' ? 'running' : `${verdict.power}:${verdict.end?.cause ?? '-'}`
}

type Case = [name: string, record: RunRecord | undefined, exit: ExitRecord | undefined, found: boolean, boot: string]

const CASES: readonly [...Case, expected: string][] = [
  ['a machine that never ran', undefined, undefined, false, BOOT, 'stopped:-'],
  ['a live process', RUNNING, undefined, true, BOOT, 'running'],
  ['a guest that powered off unseen', RUNNING, exited(0), false, BOOT, 'stopped:guest_shutdown'],
  ['a QEMU that was killed', RUNNING, exited(137), false, BOOT, 'crashed:process_died'],
  ['a QEMU that aborted', RUNNING, exited(134), false, BOOT, 'crashed:process_died'],
  ['a process that left no word', RUNNING, undefined, false, BOOT, 'crashed:vanished'],
  ['the exit record of an earlier run', RUNNING, exited(0, 'r0'), false, BOOT, 'crashed:vanished'],
  ['a host that went down', RUNNING, undefined, false, 'boot-2', 'crashed:host_restarted'],
  ['a pid of before the reboot that another process has', RUNNING, undefined, true, 'boot-2', 'crashed:host_restarted'],
  ['an end before the reboot', RUNNING, exited(0), false, 'boot-2', 'stopped:guest_shutdown'],
  ['a start that was cut short', STARTING, undefined, false, BOOT, 'stopped:start_interrupted'],
  ['a start that came through without us', STARTING, undefined, true, BOOT, 'running'],
  ['a start that failed', STARTING, exited(1), false, BOOT, 'stopped:start_failed'],
]

describe('judge()', () => {
  for (const [name, record, exit, found, bootId, expected] of CASES) {
    it(`takes ${name} for ${expected}`, () => {
      assert.equal(shown(judge({ record, exit, process: found ? PROCESS : undefined, bootId })), expected)
    })
  }

  it('takes an end that we asked for as asked for, however QEMU exited', () => {
    const record: RunRecord = { ...RUNNING, intent: 'powered_off' }
    for (const exit of [exited(0), exited(137), undefined])
      assert.equal(shown(judge({ record, exit, process: undefined, bootId: BOOT })), 'stopped:powered_off')
  })

  it('takes a crash during a graceful shutdown for a crash', () => {
    const record: RunRecord = { ...RUNNING, intent: 'shut_down' }
    const verdict = (exit: ExitRecord | undefined): string =>
      shown(judge({ record, exit, process: undefined, bootId: BOOT }))
    assert.equal(verdict(exited(0)), 'stopped:shut_down')
    assert.equal(verdict(exited(139)), 'crashed:process_died')
    assert.equal(verdict(undefined), 'crashed:vanished')
  })

  it('repeats what was settled', () => {
    const record: RunRecord = { schema: 1, runId: 'r1', phase: 'ended', end: { cause: 'process_died', exitCode: 137 } }
    assert.equal(shown(judge({ record, exit: exited(0), process: PROCESS, bootId: BOOT })), 'crashed:process_died')
  })
})

describe('parseExitRecord()', () => {
  it('reads what the supervisor writes', () => {
    assert.deepEqual(parseExitRecord('r1 137 1790000000\n'), {
      runId: 'r1',
      exitCode: 137,
      endedAtMs: 1_790_000_000_000,
    })
  })

  it('takes every shorter text for no record', () => {
    const text = 'r1 137 1790000000\n'
    for (let length = 0; length < text.length; length += 1)
      assert.equal(parseExitRecord(text.slice(0, length)), undefined, text.slice(0, length))
  })
})
