import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findBreaches } from './layers.ts'
import { tidyFile } from './tidy.ts'

const breachesOf = (path: string, text: string): string[] => findBreaches([{ path, text }]).map((b) => b.reason)

test('findBreaches() finds a planted upward import in every form of import', () => {
  for (const text of [
    "import { x } from '#engine/transfer'",
    "import type { X } from '#engine/transfer'",
    "import {\n  x,\n  y,\n} from '#engine/transfer'",
    "export * from '#engine/transfer'",
    "const x = await import('#engine/transfer')",
  ]) {
    assert.deepEqual(
      breachesOf('src/engine/repository/pack.ts', text),
      ['engine/repository may not import engine/transfer'],
      text,
    )
  }
})

test('findBreaches() finds deep imports, relative escapes, packages and Node in a pure part', () => {
  assert.equal(breachesOf('src/jobs/a.ts', "import { x } from '#engine/repository/pack'").length, 1)
  assert.equal(breachesOf('src/engine/block/a.ts', "import { x } from '../repository/pack.ts'").length, 1)
  assert.equal(breachesOf('src/engine/block/a.ts', "import x from 'left-pad'").length, 1)
  assert.equal(breachesOf('src/domain/a.ts', "import fs from 'node:fs'").length, 1)
  assert.equal(breachesOf('src/nowhere/a.ts', '').length, 1)
})

test('findBreaches() lets allowed imports pass', () => {
  const text = "import { assert } from '#base'\nimport { seal } from './crypto.ts'\nimport fs from 'node:fs'"
  assert.deepEqual(breachesOf('src/engine/repository/pack.ts', text), [])
})

test('findBreaches() fails when it was given nothing to check', () => {
  assert.throws(() => findBreaches([]), /read no file/)
})

test('tidyFile() finds swallowed errors, ambient time and chance, long files and names that say nothing', () => {
  assert.equal(tidyFile({ path: 'src/base/a.ts', text: 'try { f() } catch {}\n' }).length, 1)
  assert.equal(tidyFile({ path: 'src/base/a.ts', text: 'const t = Date.now()\n' }).length, 1)
  assert.equal(tidyFile({ path: 'src/base/a.ts', text: 'const t = Math.random()\n' }).length, 1)
  assert.equal(tidyFile({ path: 'src/base/a.ts', text: 'x\n'.repeat(401) }).length, 1)
  assert.equal(tidyFile({ path: 'src/engine/block/utils.ts', text: '' }).length, 1)
})
