/** src/base/version.ts says the version that package.json has. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PROGRAM_VERSION } from '#base'

test('PROGRAM_VERSION is the version of package.json', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: unknown }
  assert.equal(PROGRAM_VERSION, version)
})
