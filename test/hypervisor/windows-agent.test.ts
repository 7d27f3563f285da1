/**
 * Instants of a guest that freezes by Windows' shadow copy service. There is no Windows here: the machine is real, its agent is
 * a program that follows the protocol and the behaviour of qemu-ga for Windows (qga/commands-win32.c, qga/vss-win32).
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Instant, type OpenInstantOptions, openRunningInstant } from '#engine/hypervisor'
import { BlankMachine } from './blank-machine.ts'
import { type Script, ScriptedAgent } from './scripted-agent.ts'

const WINDOWS: Script = { os: { id: 'mswindows', 'pretty-name': 'Windows Server 2022 Standard' }, freeze: 2 }
const REDHAT: Script = {
  os: { id: 'rhel', 'pretty-name': 'Red Hat Enterprise Linux 9.4' },
  blocked: ['guest-exec', 'guest-exec-status'],
  freeze: 3,
}
const FREEZE_AND_THAW = ['guest-fsfreeze-freeze', 'guest-fsfreeze-thaw']

let vm: BlankMachine
let agent: ScriptedAgent

async function open(options: Partial<OpenInstantOptions> = {}): Promise<Instant> {
  const machine = vm.running()
  const sockets = { ...machine.sockets, agentSocketPath: join(vm.folder, 'agent') }
  const instant = await openRunningInstant(
    vm.host(),
    { ...machine, sockets },
    { consistency: 'application', ...options },
  )
  await instant.abort('seen')
  assert.ok(!agent.isFrozen)
  return instant
}

const frozenBy = (): string[] => agent.asked.filter((name) => FREEZE_AND_THAW.includes(name))

describe('An instant of a guest with another agent', () => {
  before(async () => {
    vm = await BlankMachine.create([{}])
    agent = await ScriptedAgent.listen(join(vm.folder, 'agent'), WINDOWS)
  })
  after(async () => {
    await agent.close()
    await vm.remove()
  })

  it("is application-consistent when Windows' writers were quieted, and runs no programs there", async () => {
    agent.follow(WINDOWS)
    const instant = await open({ strict: true })
    assert.deepEqual([instant.consistency, instant.reasons, instant.notes], ['application', [], []])
    assert.deepEqual(frozenBy(), FREEZE_AND_THAW)
    assert.ok(!agent.asked.includes('guest-exec-status'))
  })

  it('is a crash with the agent’s words when a writer failed, or nothing where that was asked for', async () => {
    const words = 'failed to prepare for backup: The writer experienced a non-transient error. (error: 800423f4)'
    agent.follow({ ...WINDOWS, freeze: words })
    const instant = await open()
    assert.deepEqual([instant.consistency, instant.reasons], ['crash', ['freeze_failed']])
    await assert.rejects(open({ strict: true }), { code: 'freeze_failed' })
    assert.equal(await vm.status(), 'running')
  })

  it('is a crash when Windows thawed by itself before the instant was taken', async () => {
    agent.follow({ ...WINDOWS, thaw: 0 })
    const instant = await open()
    assert.deepEqual([instant.consistency, instant.reasons], ['crash', ['thawed_early']])
    await assert.rejects(open({ strict: true }), { code: 'freeze_failed', facts: { reason: 'thawed_early' } })
  })

  it('is one of file systems where the agent may run no programs, and says so', async () => {
    agent.follow(REDHAT)
    const instant = await open()
    assert.deepEqual([instant.consistency, instant.reasons], ['filesystem', ['agent_runs_no_programs']])
    await assert.rejects(open({ strict: true }), {
      code: 'quiesce_failed',
      facts: { reason: 'agent_runs_no_programs' },
    })
  })

  it('is one of file systems where the guest has no shell', async () => {
    agent.follow({ ...REDHAT, blocked: [] })
    assert.deepEqual((await open()).reasons, ['agent_runs_no_programs'])
  })

  it('does not touch the guest for a crash', async () => {
    agent.follow(WINDOWS)
    assert.equal((await open({ consistency: 'crash', strict: true })).consistency, 'crash')
    assert.deepEqual(agent.asked, [])
  })
})
