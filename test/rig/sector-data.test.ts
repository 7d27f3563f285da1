import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assertSectors, describeMismatch, sectorData, verifySectors } from './sector-data.ts'

const always = (version: number) => (): number => version

describe('verifySectors()', () => {
  it('accepts what sectorData() made, also beyond 4 billion sectors', () => {
    assertSectors(sectorData(3, 5_000_000_000, 40, 7), 3, 5_000_000_000, always(7))
  })

  it('names a swapped, stale, torn, missing, foreign and unexpected sector', () => {
    const data = sectorData(1, 100, 8, 2)
    data.set(sectorData(1, 105, 1, 2), 512) // 101 holds 105
    data.set(sectorData(1, 102, 1, 1), 2 * 512) // an older version
    data.writeUInt8(data.readUInt8(3 * 512 + 300) ^ 1, 3 * 512 + 300)
    data.fill(0, 4 * 512, 5 * 512)
    data.fill(0x41, 5 * 512, 6 * 512)
    data.set(sectorData(2, 106, 1, 2), 6 * 512) // of another disk
    const found = verifySectors(data, 1, 100, (sector) => (sector === 107 ? undefined : 2))
    assert.deepEqual(found.map(describeMismatch), [
      'disk 1 sector 101 version 2: found disk 1 sector 105 version 2',
      'disk 1 sector 102 version 2: found disk 1 sector 102 version 1',
      'disk 1 sector 103 version 2: found a torn disk 1 sector 103 version 2',
      'disk 1 sector 104 version 2: found zeros',
      'disk 1 sector 105 version 2: found foreign',
      'disk 1 sector 106 version 2: found disk 2 sector 106 version 2',
      'zeros: found disk 1 sector 107 version 2',
    ])
  })

  it('does not accept data that is shifted by less than a sector', () => {
    const data = sectorData(0, 0, 3, 1)
    assert.equal(verifySectors(data.subarray(8, 8 + 1024), 0, 0, always(1)).length, 2)
  })
})
