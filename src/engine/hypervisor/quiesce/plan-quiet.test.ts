import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { GuestLook } from './guest-look.ts'
import { planQuiet, scriptFault, settingsIn } from './plan-quiet.ts'
import { readScriptSettings, type ScriptSettings } from './script-settings.ts'

const LOOK: GuestLook = { system: 'other', runsPrograms: true, freezesSome: true, hooks: [] }

function settings(change: Record<string, unknown> = {}): ScriptSettings {
  const fields = { preScriptLocation: '/pre', postScriptLocation: '/post', ...change }
  const read = readScriptSettings(JSON.stringify(fields))
  assert.ok(!('fault' in read))
  return read
}

const codes = (plan: ReturnType<typeof planQuiet>): string[] => plan.shortfalls.map(({ code }) => code)

describe('planQuiet()', () => {
  it('promises application consistency for scripts, hooks and Windows, and says why not elsewhere', () => {
    const scripts = planQuiet('application', LOOK, settings())
    assert.ok(scripts.scripts !== undefined && scripts.freeze !== undefined)
    assert.deepEqual(codes(scripts), [])
    const hooks = planQuiet('application', { ...LOOK, hooks: ['/etc/qemu/fsfreeze-hook.d/db'] }, undefined)
    const windows = planQuiet('application', { ...LOOK, system: 'windows', runsPrograms: false }, undefined)
    for (const plan of [hooks, windows]) assert.deepEqual([plan.frozenIs, codes(plan)], ['application', []])
    assert.ok((windows.freeze?.timeoutMs ?? 0) > (hooks.freeze?.timeoutMs ?? 0))
    assert.deepEqual(codes(planQuiet('application', LOOK, undefined)), ['no_scripts'])
    const mute = planQuiet('application', { ...LOOK, runsPrograms: false }, undefined)
    assert.deepEqual([mute.frozenIs, codes(mute)], ['filesystem', ['agent_runs_no_programs']])
  })

  it('runs no script for file systems alone, and misses none', () => {
    const plan = planQuiet('filesystem', LOOK, settings())
    assert.deepEqual([plan.scripts, codes(plan)], [undefined, []])
  })

  it('goes on without scripts that may not be run, or refuses, as the guest says', () => {
    const fault = { code: 'Pre-ScriptNotFound', note: 'gone' } as const
    const goesOn = planQuiet('application', LOOK, { fault, continues: true })
    assert.deepEqual([goesOn.refuses, goesOn.scripts, codes(goesOn)], [false, undefined, ['Pre-ScriptNotFound']])
    assert.ok(planQuiet('application', LOOK, { fault, continues: false }).refuses)
    assert.ok(!planQuiet('filesystem', LOOK, { fault, continues: false }).refuses)
  })

  it('does not freeze where the guest switched that off: scripts alone decide then', () => {
    const scripts = settings({ fsFreezeEnabled: false })
    const alone = planQuiet('application', LOOK, scripts)
    assert.deepEqual([alone.freeze, codes(alone)], [undefined, []])
    const frozenOff = { ...LOOK, freezeSettings: { ownerId: 0, mode: 0o600, text: '[SnapshotThread]\nfsfreeze: no' } }
    for (const wanted of ['filesystem', 'application'] as const) {
      const off = planQuiet(wanted, frozenOff, undefined)
      assert.equal(off.freeze, undefined)
      assert.ok(codes(off).includes('freeze_disabled'))
    }
    assert.deepEqual(codes(planQuiet('filesystem', LOOK, scripts)), ['freeze_disabled'])
  })

  it("takes the guest's mounts to skip and its time to freeze", () => {
    const text = '[SnapshotThread]\nMountsToSkip=/scratch\nSafeFreezeWaitInSeconds=90'
    const plan = planQuiet('filesystem', { ...LOOK, freezeSettings: { ownerId: 0, mode: 0o644, text } }, undefined)
    assert.deepEqual(plan.freeze, { timeoutMs: 90_000, skips: ['/scratch'] })
  })
})

describe('settingsIn()', () => {
  const file = { ownerId: 0, mode: 0o600, text: '{"preScriptLocation":"/a","postScriptLocation":"/b"}' }
  const codeOf = (change: Partial<typeof file>): string | undefined => {
    const found = settingsIn({ ...file, ...change })
    return 'code' in found ? found.code : undefined
  }

  it('believes only what root alone may write', () => {
    assert.equal(codeOf({}), undefined)
    assert.equal(codeOf({ mode: 0o400 }), undefined)
    assert.equal(codeOf({ ownerId: 1000 }), 'FailedPrepostPluginConfigOwnershipError')
    for (const mode of [0o644, 0o660, 0o602]) assert.equal(codeOf({ mode }), 'FailedPrepostPluginConfigPermissionError')
    assert.equal(codeOf({ text: '{' }), 'IncorrectJSONConfigFile')
  })
})

describe('scriptFault()', () => {
  const good = { ownerId: 0, mode: 0o700 }
  const codeOf = (pre: typeof good | undefined, post: typeof good | undefined): string | undefined =>
    scriptFault(settings(), { pre, post })?.code

  it("names in Azure's words what keeps a script from being run", () => {
    assert.equal(codeOf(good, good), undefined)
    assert.equal(codeOf(undefined, undefined), 'Pre-ScriptNotFound')
    assert.equal(codeOf(good, undefined), 'Post-ScriptNotFound')
    for (const bad of [
      { ownerId: 5, mode: 0o700 },
      { ownerId: 0, mode: 0o755 },
      { ownerId: 0, mode: 0o600 },
    ]) {
      assert.equal(codeOf(bad, good), 'InsufficientPermissionforPre-Script')
      assert.equal(codeOf(good, bad), 'InsufficientPermissionforPost-Script')
    }
  })
})
