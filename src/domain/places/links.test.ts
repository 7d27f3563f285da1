import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lostPairs, sharedRegion } from './links.ts'

const region = (name: string, pair?: string) => ({ name, pair })

test('sharedRegion() names what both have', () => {
  assert.equal(sharedRegion([region('east'), region('attic')], [region('west'), region('attic')]), 'attic')
  assert.equal(sharedRegion([region('east')], [region('west')]), undefined)
})

test('lostPairs() names regions whose pair over the link is gone or paired elsewhere, and no others', () => {
  const own = [region('east', 'west'), region('cellar', 'attic'), region('attic', 'cellar'), region('far', 'north')]
  const before = [region('west', 'east')]
  assert.deepEqual(lostPairs(own, before, [region('west', 'east')]), [])
  assert.deepEqual(lostPairs(own, before, [region('west')]), ['east'])
  assert.deepEqual(lostPairs(own, before, [region('west', 'south')]), ['east'])
  assert.deepEqual(lostPairs(own, before, []), ['east'], 'it has removed the region')
  assert.deepEqual(lostPairs(own, [], []), [], 'a pair over another link is not its business')
})
