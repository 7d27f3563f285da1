import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readScriptSettings } from './script-settings.ts'

const AZURES = {
  pluginName: 'ScriptRunner',
  preScriptLocation: '/opt/backup/pre.sh',
  postScriptLocation: '/opt/backup/post.sh',
  preScriptParams: ['db1', ''],
  postScriptParams: [],
  preScriptNoOfRetries: 2,
  postScriptNoOfRetries: 3,
  timeoutInSeconds: 90,
  continueBackupOnFailure: false,
  fsFreezeEnabled: false,
  ScriptsExecutionPollTimeSeconds: 2,
}

const read = (change: Record<string, unknown>): ReturnType<typeof readScriptSettings> =>
  readScriptSettings(JSON.stringify({ ...AZURES, ...change }))

describe('readScriptSettings()', () => {
  it("reads Azure's keys", () => {
    const times = { timeoutMs: 90_000, pollMsMax: 2_000 }
    assert.deepEqual(readScriptSettings(`\uFEFF${JSON.stringify(AZURES)}`), {
      pre: { path: '/opt/backup/pre.sh', args: ['db1', ''], retries: 2, ...times },
      post: { path: '/opt/backup/post.sh', args: [], retries: 3, ...times },
      continues: false,
      freezes: false,
    })
  })

  it("has Azure's defaults for what is missing, and lets no script have more than 1,800 seconds", () => {
    const times = { timeoutMs: 30_000, pollMsMax: 1_000 }
    const few = { preScriptLocation: '/a', postScriptLocation: '/b' }
    assert.deepEqual(readScriptSettings(JSON.stringify(few)), {
      pre: { path: '/a', args: [], retries: 0, ...times },
      post: { path: '/b', args: [], retries: 0, ...times },
      continues: true,
      freezes: true,
    })
    const long = read({ timeoutInSeconds: 7_200, ScriptsExecutionPollTimeSeconds: 60 })
    assert.ok(!('fault' in long))
    assert.deepEqual([long.pre.timeoutMs, long.post.pollMsMax], [1_800_000, 5_000])
  })

  it('takes the empty locations of the file as Azure ships it for scripts that are not there', () => {
    const shipped = read({ preScriptLocation: '', postScriptLocation: '' })
    assert.ok(!('fault' in shipped))
    assert.equal(shipped.pre.path, '')
  })

  for (const [what, change, fault] of [
    ['a location that is no full path', { preScriptLocation: 'pre.sh' }, /preScriptLocation/],
    ['a missing location', { postScriptLocation: undefined }, /postScriptLocation/],
    ['parameters that are no texts', { preScriptParams: [1] }, /preScriptParams/],
    ['a time that is no number', { timeoutInSeconds: '90' }, /timeoutInSeconds/],
    ['no time', { timeoutInSeconds: 0 }, /timeoutInSeconds/],
    ['fewer than no retries', { postScriptNoOfRetries: -1 }, /postScriptNoOfRetries/],
    ['a flag that is none', { continueBackupOnFailure: 'no' }, /continueBackupOnFailure/],
  ] as const) {
    it(`finds fault with ${what}`, () => {
      const found = read(change)
      assert.ok('fault' in found)
      assert.match(found.fault, fault)
    })
  }

  for (const text of ['', '{', '[]', 'null', '"x"']) {
    it(`finds fault with ${JSON.stringify(text)}`, () => assert.ok('fault' in readScriptSettings(text)))
  }
})
