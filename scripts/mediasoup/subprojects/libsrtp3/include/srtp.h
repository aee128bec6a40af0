/*
 * The part of libsrtp 3's interface that the mediasoup worker uses, on top of libsrtp 2.
 *
 * libsrtp 3 reads a packet from one buffer, writes it to another, and takes the room in the second
 * through the length it returns. libsrtp 2 works in place and trusts the caller to have left room.
 * C++ only: these overloads stand beside libsrtp 2's C functions of the same name.
 */
#ifndef VIREO_SRTP3_ON_SRTP2_H
#define VIREO_SRTP3_ON_SRTP2_H

#include <srtp2/srtp.h>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Results that only libsrtp 3 has, numbered after the last one that libsrtp 2 has.
constexpr srtp_err_status_t srtp_err_status_buffer_small =
  static_cast<srtp_err_status_t>(srtp_err_status_pkt_idx_adv + 1);
constexpr srtp_err_status_t srtp_err_status_cryptex_err =
  static_cast<srtp_err_status_t>(srtp_err_status_pkt_idx_adv + 2);

namespace vireo
{
	// SRTCP appends its 4-byte index besides the authentication tag and the MKI.
	constexpr size_t SrtpTrailerRoom{ SRTP_MAX_TRAILER_LEN };
	constexpr size_t SrtcpTrailerRoom{ SRTP_MAX_TRAILER_LEN + 4 };
	constexpr size_t MaxPacketLen{ 65536 };

	using InPlace = srtp_err_status_t (*)(srtp_t, void*, int*);

	inline srtp_err_status_t RunInPlace(
	  InPlace operation, srtp_t session, const uint8_t* in, size_t inLen, uint8_t* out, size_t* outLen, size_t room)
	{
		if (inLen > MaxPacketLen)
		{
			return srtp_err_status_bad_param;
		}

		if (*outLen < inLen + room)
		{
			return srtp_err_status_buffer_small;
		}

		if (out != in)
		{
			std::memmove(out, in, inLen);
		}

		int len          = static_cast<int>(inLen);
		const auto status = operation(session, out, &len);

		if (status == srtp_err_status_ok)
		{
			*outLen = static_cast<size_t>(len);
		}

		return status;
	}
} // namespace vireo

// The worker passes MKI index 0 and never enables MKIs, so there is none to hand on.
inline srtp_err_status_t srtp_protect(
  srtp_t session, const uint8_t* rtp, size_t rtpLen, uint8_t* srtp, size_t* srtpLen, size_t /*mkiIndex*/)
{
	return vireo::RunInPlace(
	  ::srtp_protect, session, rtp, rtpLen, srtp, srtpLen, vireo::SrtpTrailerRoom);
}

inline srtp_err_status_t srtp_protect_rtcp(
  srtp_t session, const uint8_t* rtcp, size_t rtcpLen, uint8_t* srtcp, size_t* srtcpLen, size_t /*mkiIndex*/)
{
	return vireo::RunInPlace(
	  ::srtp_protect_rtcp, session, rtcp, rtcpLen, srtcp, srtcpLen, vireo::SrtcpTrailerRoom);
}

inline srtp_err_status_t srtp_unprotect(
  srtp_t session, const uint8_t* srtp, size_t srtpLen, uint8_t* rtp, size_t* rtpLen)
{
	return vireo::RunInPlace(::srtp_unprotect, session, srtp, srtpLen, rtp, rtpLen, 0);
}

inline srtp_err_status_t srtp_unprotect_rtcp(
  srtp_t session, const uint8_t* srtcp, size_t srtcpLen, uint8_t* rtcp, size_t* rtcpLen)
{
	return vireo::RunInPlace(::srtp_unprotect_rtcp, session, srtcp, srtcpLen, rtcp, rtcpLen, 0);
}

// Both versions take the SSRC as it stands in the packet (network byte order).
inline srtp_err_status_t srtp_stream_remove(srtp_t session, uint32_t ssrc)
{
	return srtp_remove_stream(session, ssrc);
}

#endif
