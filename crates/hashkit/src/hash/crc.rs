//! The two cyclic redundancy checks, by tables made at compile time.
//!
//! Names as in the CRC RevEng catalogue: CRC-16/XMODEM, CRC-32/ISO-HDLC.

const CRC16: [u16; 256] = crc16_table();
const CRC32: [u32; 256] = crc32_table();

/// CRC-16/XMODEM: polynomial 0x1021, start 0, most significant bit first.
pub(crate) fn crc16(key: &[u8]) -> u16 {
    key.iter().fold(0, |crc: u16, &byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ CRC16[usize::from(high ^ byte)]
    })
}

/// Twemproxy's `crc16`: the same steps in a register of 32 bits that is never cut to 16, so what is
/// shifted out of the CRC stays above it.
pub(super) fn crc16_uncut(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, &byte| {
        let [_, _, high, _] = crc.to_be_bytes();
        (crc << 8) ^ u32::from(CRC16[usize::from(high ^ byte)])
    })
}

/// CRC-32/ISO-HDLC, as in zlib: polynomial 0x04c11db7 reflected, start and end inverted.
pub(crate) fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(u32::MAX, |crc, &byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ CRC32[usize::from(low ^ byte)]
    })
}

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}
