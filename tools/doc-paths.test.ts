import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findDeadPaths, pathsNamedIn } from './doc-paths.ts'

const PATHS = ['src/base/index.ts', 'script/test', 'docs/cli.md', 'docs/decisions/README.md', 'README.md']

test('findDeadPaths() finds a planted name and a planted link that lead nowhere', () => {
  const text = 'See `src/base/gone.ts` and [here](docs/gone.md#part); `src/bas` is no folder either.'
  assert.deepEqual(findDeadPaths([{ path: 'ARCHITECTURE.md', text }], PATHS), [
    'ARCHITECTURE.md: names src/base/gone.ts, which is not there',
    'ARCHITECTURE.md: names src/bas, which is not there',
    'ARCHITECTURE.md: names docs/gone.md, which is not there',
  ])
})

test('findDeadPaths() lets files, folders, commands with arguments and URLs pass', () => {
  const text =
    '`src/base`, `src/base/`, `script/test --quick`, [a](docs/cli.md), [b](https://example.org/x), [c](#here)'
  assert.deepEqual(findDeadPaths([{ path: 'README.md', text }], PATHS), [])
})

test('pathsNamedIn() takes links from the folder of the document', () => {
  const text = '[up](../cli.md) [beside](README.md) [top](../../README.md)'
  assert.deepEqual(pathsNamedIn({ path: 'docs/decisions/0001-a.md', text }), [
    'docs/cli.md',
    'docs/decisions/README.md',
    'README.md',
  ])
})

test('findDeadPaths() fails when it was given nothing to check', () => {
  assert.throws(() => findDeadPaths([], PATHS), /read nothing/)
})
