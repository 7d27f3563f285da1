import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  MACHINE_COMMANDS,
  MACHINE_POWER_MOVES,
  MACHINE_POWERS,
  machineStatusLines,
  mayPowerBecome,
  noticeEnd,
  type OwnMachineBacking,
  restartDelayMs,
  ruleCommand,
  settledPower,
} from './machine.ts'
import { isRefusal } from './disk.ts'

const machine: OwnMachineBacking = {
  machine: 'web1-0f',
  firmware: 'bios',
  power: 'running',
  wanted: 'running',
  allocated: true,
  generalized: false,
}

/** The tables as they are drawn in the decision record. */
function drawn(): string {
  const moves = MACHINE_POWERS.map((from) => `${from.padEnd(12)} -> ${MACHINE_POWER_MOVES[from].join(', ')}`)
  const rests = ['running', 'stopped', 'deallocated'] as const
  const rules = MACHINE_COMMANDS.map((command) => {
    const cells = rests.map((power) => {
      const rule = ruleCommand(command, { power, generalized: false })
      const generalized = ruleCommand(command, { power, generalized: true })
      const word = isRefusal(rule) ? '409' : rule
      const other = isRefusal(generalized) ? '409' : generalized
      return (word === other ? word : `${word}/${other}`).padEnd(12)
    })
    return `${command.padEnd(12)} ${cells.join(' ')}`.trimEnd()
  })
  const head = `${''.padEnd(12)} ${rests.map((power) => power.padEnd(12)).join(' ')}`.trimEnd()
  return [...moves, '', head, ...rules].join('\n')
}

test('the states and commands of a machine are those that are drawn in decision 32', () => {
  const text = readFileSync('docs/decisions/0032-machines.md', 'utf8')
  assert.ok(text.includes(drawn()), `docs/decisions/0032-machines.md does not hold:\n${drawn()}`)
})

test('every state can be left for one in which it rests, and every rest for another', () => {
  for (const from of MACHINE_POWERS) {
    const reached = new Set<string>([from])
    const add = (power: (typeof MACHINE_POWERS)[number]): void => {
      for (const next of MACHINE_POWER_MOVES[power])
        if (!reached.has(next)) {
          reached.add(next)
          add(next)
        }
    }
    add(from)
    for (const rest of ['running', 'stopped', 'deallocated']) assert.ok(reached.has(rest), `${from} -> ${rest}`)
    assert.ok(['running', 'stopped', 'deallocated'].includes(settledPower(from)))
  }
  assert.ok(!mayPowerBecome('deallocated', 'running'), 'a machine takes its room before it runs')
  assert.ok(!mayPowerBecome('deallocated', 'stopped'))
})

test('a generalized machine is never started again', () => {
  for (const command of ['start', 'restart'] as const)
    for (const power of MACHINE_POWERS)
      assert.ok(isRefusal(ruleCommand(command, { power, generalized: true })), `${command} of ${power}`)
})

test('noticeEnd() tells a guest that powered off from a crash, and counts crashes that lie close together', () => {
  assert.deepEqual(noticeEnd(machine, 'guest_shutdown', 1000), { kind: 'guest-off', wanted: 'off', crashes: 0 })
  for (const cause of ['process_died', 'host_restarted', 'vanished'])
    assert.deepEqual(noticeEnd(machine, cause, 1000), { kind: 'crash', wanted: 'running', crashes: 1 })
  const again = { ...machine, crashes: 3, lastCrashMs: 1_000 }
  assert.equal(noticeEnd(again, 'process_died', 60_000).crashes, 4)
  assert.equal(noticeEnd(again, 'process_died', 3_600_000).crashes, 1)
  assert.equal(noticeEnd({ ...machine, wanted: 'off' }, 'process_died', 1).wanted, 'off')
})

test('restartDelayMs() grows up to five minutes', () => {
  assert.deepEqual([1, 2, 3, 8].map(restartDelayMs), [1_000, 2_000, 4_000, 128_000])
  for (const crashes of [9, 10, 1_000]) assert.ok(restartDelayMs(crashes) <= 300_000)
  assert.equal(restartDelayMs(1_000), 300_000)
})

test('machineStatusLines() says why a machine is not what was asked for', () => {
  const at = (ms: number): string => `at ${ms}`
  assert.deepEqual(machineStatusLines(machine, at), [
    { code: 'PowerState/running', level: 'Info', displayStatus: 'VM running' },
  ])
  const full: OwnMachineBacking = { ...machine, power: 'deallocated', why: 'There is no room.' }
  assert.deepEqual(machineStatusLines(full, at), [
    {
      code: 'PowerState/deallocated',
      level: 'Warning',
      displayStatus: 'VM deallocated',
      message: 'There is no room.',
    },
  ])
  const crashed: OwnMachineBacking = { ...machine, power: 'stopped', lastEnd: { cause: 'process_died', atMs: 7 } }
  const [line] = machineStatusLines(crashed, at)
  assert.deepEqual([line?.level, line?.time], ['Error', 'at 7'])
  assert.match(String(line?.message), /process_died/)
  const [generalized] = machineStatusLines({ ...machine, power: 'stopped', generalized: true }, at)
  assert.equal(generalized?.code, 'OSState/generalized')
})
